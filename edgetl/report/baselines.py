"""Baselines of the teacher, which show whether pretraining helped: part of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetl.report.numbers import Count, Exact, Share, read_part


@dataclass(frozen=True, kw_only=True)
class BaselineReport(Exact):
    """A network to compare the teacher with.

    Attributes:
        score: on the part, a fraction.
        standard_error: of the score, a fraction; near-duplicates of one class count once.
        balanced: mean recall of the classes, by which networks are chosen where the classes are unbalanced, a fraction.
        views: training views it had, in the epochs that really ran, where that is what limits it.
        image_size: pixels, where it differs from the teacher's.
    """

    score: Share
    standard_error: Share
    views: Count | None = None
    image_size: Count | None = None
    balanced: Share | None = None


@dataclass(frozen=True, kw_only=True)
class Baselines(Exact):
    """Whether pretraining helped the teacher, on the part that selected it.

    Attributes:
        linear_probe: a linear head on the untouched pretrained features.
        from_scratch: the teacher's network from random weights, trained for a small share of the time; None: its training diverged.
        negative_transfer: the latter beats the teacher by more than the standard error; where classes are unbalanced, in the mean recall
            of the classes, which both were chosen by.
        strategy: what learned in the teacher, and why.
        mirroring: whether photos were mirrored in training, and why.
    """

    part: Literal["val"]
    images: Count
    linear_probe: BaselineReport
    from_scratch: BaselineReport | None
    teacher: BaselineReport
    negative_transfer: bool
    strategy: str
    mirroring: str | None = None


def read_baselines(path: Path) -> Baselines:
    """What `finetune` wrote as `baselines.json`.

    Raises:
        InputError: something else is there.
    """
    return read_part(path, Baselines, "the baselines that finetune wrote")
