"""When should a classifier say that it does not know? Below the confidence that a wanted precision needs. numpy and scipy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from edgetl.metrics.clusters import Groups, design_effect, distinct

LEVEL = 0.05  # one-sided, of all thresholds that are tried together
FEWEST_IMAGES = 30  # below, no threshold is set
FEWEST_ANSWERED = 10  # a precision of fewer says nothing
STEPS_OF_ONE = 10_000  # thresholds have four decimals, rounded down: what processors round differently does not move them
Reach = Literal["shown", "measured", "missed", "too few images"]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Answers whose confidence is at least `value` are given, others are "unknown".

    Attributes:
        value: in [0, 1]; None: every answer is given.
        precision: the share of the given answers that are right; None where none was given.
        coverage: the share of the images that get an answer.
        reach: whether the wanted precision is `shown` to be reached (by its 95% bound), `measured` (too few images to show it) or `missed`
            by every threshold; or there are `too few images` to look.
    """

    value: float | None
    precision: float | None
    coverage: float
    reach: Reach


def fit_threshold(
    confidences: NDArray[np.float32], right: NDArray[np.bool_], wanted_precision: float, *, groups: Groups | None = None
) -> Threshold:
    """The lowest threshold at which the given answers are as precise as wanted.

    Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks", algorithm 1: thresholds are tried by halving, each
    judged by the exact binomial bound (Clopper & Pearson 1934) at its share of `LEVEL`: what is `shown` errs in at most 5 of 100 cases.
    Where no threshold is shown to do, the lowest is taken whose measured precision does.

    Args:
        confidences: of the answers, in [0, 1], float32 [n].
        right: whether each is right, bool [n].
        wanted_precision: a fraction below 1.
        groups: int64 [n], near-duplicates have one number: so many images tell as much as fewer.
    """
    if distinct(len(right), groups) < FEWEST_IMAGES:
        return _at(None, confidences, right, "too few images")
    candidates = np.unique(np.floor(confidences.astype(np.float64) * STEPS_OF_ONE) / STEPS_OF_ONE)
    effect = design_effect(right, groups)
    if (shown := _shown(candidates, confidences, right, wanted_precision, effect)) is not None:
        return _at(shown, confidences, right, "shown")
    for candidate in candidates:
        given = right[confidences >= candidate]
        if len(given) >= FEWEST_ANSWERED and given.mean() >= wanted_precision:
            return _at(float(candidate), confidences, right, "measured")
    return _at(None, confidences, right, "missed")


def _shown(
    candidates: NDArray[np.float64], confidences: NDArray[np.float32], right: NDArray[np.bool_], wanted: float, effect: float
) -> float | None:
    """The lowest of the tried thresholds whose bound is above what is wanted; None where none is. The lowest of all is tried first."""
    tries = 1 + math.ceil(math.log2(len(candidates)))

    def holds(at: int) -> bool:
        given = right[confidences >= candidates[at]]
        return lower_bound(int(given.sum()) / effect, len(given) / effect, LEVEL / tries) >= wanted

    if holds(0):
        return float(candidates[0])
    low, high = 0, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return float(candidates[high]) if high < len(candidates) else None


def lower_bound(right: float, images: float, level: float) -> float:
    """Clopper and Pearson's lower bound of a share, one-sided at `level`; numbers of images may be effective ones."""
    return 0.0 if right <= 0 else float(betaincinv(right, images - right + 1, level))


def _at(value: float | None, confidences: NDArray[np.float32], right: NDArray[np.bool_], reach: Reach) -> Threshold:
    given = right[confidences >= (-1.0 if value is None else value)]
    precision = float(given.mean()) if len(given) else None
    return Threshold(value=value, precision=precision, coverage=len(given) / max(1, len(right)), reach=reach)
