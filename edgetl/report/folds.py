"""How well frozen features carry a head on images it was not fitted on, fold by fold: part of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetl.report.numbers import Count, Exact, Share, read_part


@dataclass(frozen=True, kw_only=True)
class Folds(Exact):
    """Cross-validation of a linear head on the teacher's frozen features, on the images of train and val.

    Attributes:
        metric: "top1", or "mean recall" where classes are unbalanced.
        scores: of each fold, fractions; `mean` and `spread` (standard deviation) of them.
        images: in all folds.
        rarest: images of the rarest class.
    """

    metric: str
    scores: tuple[Share, ...]
    mean: Share
    spread: float
    images: Count
    rarest: Count

    def line(self) -> str:
        """One line for people."""
        return (
            f"cross-validation: a head on the teacher's frozen features has {self.metric} {self.mean:.1%}, standard deviation "
            f"{100 * self.spread:.1f} points ({len(self.scores)} folds, {self.images} images, {self.rarest} of the rarest class)"
        )


def read_folds(path: Path) -> Folds:
    """What the stage `folds` wrote as `folds.json`.

    Raises:
        InputError: something else is there.
    """
    return read_part(path, Folds, "the folds of a cross-validation")
