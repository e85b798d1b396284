"""The rule that decides whether the float model or its int8 form ships. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.metrics.clusters import Groups, design_effect
from edgetl.metrics.parity import BISECTIONS, PairedDrop, Standing, standing
from edgetl.metrics.recall import binomial_tail

WhenUndecided = Literal["measured", "float", "int8"]
SettledBy = Literal["interval", "class", "agreement", "measured", "limit", "asked"]
LEVEL = 0.05  # one-sided, of the bound of a disagreement


@dataclass(frozen=True, kw_only=True)
class FormChoice:
    """Whether int8 ships.

    Attributes:
        standing: of the drop's interval to the budget; `beyond` too where a class is shown to be lost.
        settled_by: the `interval`; a lost `class`; `agreement` with float, which bounds the drop; or, where the interval leaves it
            undecided, the `measured` drop, a `limit` of size or time that float exceeds, or what was `asked` for.
    """

    int8: bool
    standing: Standing
    settled_by: SettledBy


def choose(
    drop: PairedDrop,
    max_drop: float,
    *,
    differ: NDArray[np.bool_],
    groups: Groups | None = None,
    class_lost: bool = False,
    when_undecided: WhenUndecided = "measured",
    float_fits: bool = True,
) -> FormChoice:
    """The rule for int8 against float (docs/adr/0028).

    1. A class is shown to be lost, or the whole interval of the drop is beyond the budget: float.
    2. The whole interval is within the budget: int8.
    3. Undecided, but the two models answer so alike that the drop, which cannot exceed the disagreement, is within the budget: int8.
    4. Undecided: as asked; by default int8 if the drop that was measured is within the budget, or float is larger or slower than allowed,
       else float.

    Args:
        drop: of int8 against float, on images that nothing was fitted on.
        max_drop: the budget, a fraction.
        differ: whether the two give different answers, bool [m], on images that nothing was fitted on; these need no labels.
        groups: int64 [m], where those come in groups.
        class_lost: whether a class is shown to be lost.
        when_undecided: what ships where nothing is shown.
        float_fits: whether float keeps the limits of size and time that were given.
    """
    if class_lost:
        return FormChoice(int8=False, standing="beyond", settled_by="class")
    found = standing(drop.low, drop.high, max_drop)
    if found != "undecided":
        return FormChoice(int8=found == "within", standing=found, settled_by="interval")
    if most_of(float(differ.mean()), len(differ) / design_effect(differ, groups)) <= max_drop:
        return FormChoice(int8=True, standing=found, settled_by="agreement")
    if when_undecided == "measured":
        within = drop.drop <= max_drop
        return FormChoice(int8=within or not float_fits, standing=found, settled_by="measured" if within or float_fits else "limit")
    return FormChoice(int8=when_undecided == "int8", standing=found, settled_by="asked")


def most_of(share: float, images: float) -> float:
    """The exact one-sided 95% upper bound of a share measured on `images` images (Clopper & Pearson 1934, Biometrika 26:404-413).

    An effective number of images is taken as the whole number below, the images counted as the whole number above.
    """
    count, all_of = math.ceil(share * images - 1e-9), math.floor(images + 1e-9)
    if count >= all_of:
        return 1.0
    low, high = count / all_of, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        so_few = binomial_tail(all_of - count, all_of, 1 - middle)
        low, high = (middle, high) if so_few > LEVEL else (low, middle)
    return high
