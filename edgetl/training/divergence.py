"""NaN and infinity in training: it stops if the loss or a weight is not finite, and says where and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgetl.core.errors import DivergedError
from edgetl.models.finite import how_wrong, is_finite


@dataclass(frozen=True, kw_only=True)
class Course:
    """The position of a training: epoch and step.

    Attributes:
        epoch: from 0; -1: before the first.
        kept: the file that holds what the last finished epoch left, if one has ended.
    """

    title: str
    epoch: int
    epochs: int
    lr: float
    warmup: float
    kept: Path

    def diverged(self, what: str, where: str) -> DivergedError:
        """The error for `what` (expected, found) in this epoch, at `where` in it (after it, where that is empty)."""
        epoch = f"epoch {self.epoch + 1} of {self.epochs}"
        at = "before the first epoch" if self.epoch < 0 else f"in {epoch}, {where}" if where else f"after {epoch}"
        return DivergedError(f"{self.title}: expected {what} {at}. {self._advice(where)} {self._kept()}")

    def _advice(self, where: str) -> str:
        if self.epoch < 0 or (self.epoch == 0 and where.startswith("batch 1 ")):
            return "No training step was made before, so the initial weights are too large or damaged: give other weights (--weights)."
        return (
            f"The training diverged: lower the learning rate (--lr, now {self.lr:g}; in a pipeline --set {self.title}.lr=...), "
            f"warm up for longer (--warmup, now {self.warmup:g}), or check the initial weights."
        )

    def _kept(self) -> str:
        if self.epoch < 1 or not self.kept.exists():
            return "No epoch ended with finite weights; no checkpoint was written"
        return f"The weights after epoch {self.epoch} are finite and are kept: --weights {self.kept} starts from them"


def refuse_diverged(model: nn.Module, course: Course) -> None:
    """Raise DivergedError, with the first tensor's name, unless all weights and statistics of `model` are finite."""
    for name, value in model.state_dict().items():
        if not is_finite(value):
            raise course.diverged(f"finite weights, found {how_wrong(value)} in {name}", "")
