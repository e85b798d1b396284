"""How much of a pretrained network learns, and how that is decided without a look at the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from edgetl.training.fit import standard_error
from edgetl.training.job import Group

Strategy = Literal["features", "staged", "full"]
FITTING = 0.9  # score from which on frozen features have more to keep than to learn
THAWED = 0.5  # share of staged training after which every block learns
TRAINED: Mapping[Strategy, str] = {
    "features": "trains only the head",
    "staged": "unfreezes the network block by block",
    "full": "trains all layers",
}


@dataclass(frozen=True, kw_only=True)
class StrategyDecision:
    """Which layers are trained, and why, in words."""

    strategy: Strategy
    reason: str

    def line(self) -> str:
        """One line for the screen; `reason` is for the log."""
        return TRAINED[self.strategy]


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """How a head on frozen features did on images that it was not fitted on.

    Attributes:
        score: of `images`, of which `val` are val's; where classes are unbalanced, the mean over the classes.
        worth: the effective number of val images (`training.balance.worth_of`); None: `val`.
    """

    score: float
    images: int
    val: int
    worth: float | None = None


def decide(wanted: Literal["auto", "features", "staged", "full"], frozen: HeadScore | None) -> StrategyDecision:
    """The strategy; `frozen` is None where there are no pretrained weights, and so nothing worth freezing.

    `auto` trains more than the head only if val can tell the outcome from chance. Training may halve the errors. If that gain is less
    than one standard error of the val score, even a network without errors would lie within two of them (the 95% interval): val
    could not choose between the networks, and the head alone is trained. Features that fit the images are thawed in stages, others
    all at once.
    """
    if wanted != "auto":
        return StrategyDecision(strategy=wanted, reason="as requested")
    if frozen is None:
        return StrategyDecision(strategy="full", reason="there are no pretrained weights")
    error, hope = standard_error(frozen.score, frozen.val if frozen.worth is None else frozen.worth), (1 - frozen.score) / 2
    few = "" if frozen.worth is None else f" (they count as {frozen.worth:.0f}: classes are unbalanced, or images look alike)"
    said = (
        f"A linear head on frozen features is right on {frozen.score:.1%} of {frozen.images} images (cross-validated). "
        f"Halving the errors would gain {100 * hope:.1f} points. "
        f"The standard error on {frozen.val} val images{few} is {100 * error:.1f} points"
    )
    if hope <= error:
        return StrategyDecision(strategy="features", reason=f"{said}: they could not show such a gain")
    strategy: Strategy = "staged" if frozen.score >= FITTING else "full"
    return StrategyDecision(strategy=strategy, reason=f"{said}: they can show such a gain")


def groups(blocks: Sequence[Sequence[nn.Parameter]], strategy: Strategy, decay: float) -> list[Group]:
    """The blocks, from input to head, with falling rates towards the input (discriminative fine-tuning; Howard & Ruder 2018, section 3.2).

    `staged`: the head and the block before it learn from the start, one block more each time, until at `THAWED` all do (gradual
    unfreezing, section 3.3). `full`: all from the start.
    """
    last = len(blocks) - 1
    wait = THAWED / max(1, last - 1) if strategy == "staged" else 0.0
    return [Group(parameters=block, scale=decay ** (last - i), begins=wait * max(0, last - 1 - i)) for i, block in enumerate(blocks)]
