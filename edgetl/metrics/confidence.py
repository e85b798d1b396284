"""Calibration of confidences: the temperature that corrects them, and the expected calibration error. numpy and scipy only.

A confidence of 0.9 is calibrated if nine of ten such answers are right. Most networks are overconfident, and int8 changes that again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from edgetl.metrics.clusters import Groups, distinct

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked at
FEWEST_IMAGES = 30  # below, one temperature cannot be told from another
BINS = 15  # of equal width, as Guo et al. have them
DRAWS = 1000  # of labels, for what chance alone makes of the error
DIGITS = 4  # of a temperature: what processors round differently does not reach them


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64], groups: Groups | None = None) -> float:
    """The temperature T for which softmax(logits / T) has the smallest negative log-likelihood; 1 below `FEWEST_IMAGES`.

    Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2. One number keeps every answer. Targets
    are Platt's (1999, "Probabilistic Outputs for Support Vector Machines", section 2.2): (n + 1) / (n + 2) for the label, the rest for the
    other classes alike, so that images which are all answered right do not ask for certainty.

    Args:
        logits: float32 [n, k], k at least 2.
        labels: int64 [n].
        groups: int64 [n], near-duplicates have one number and count as one image.
    """
    from scipy.optimize import minimize_scalar  # 12 MB that only exports need; every command imports this module

    images, classes = logits.shape
    if distinct(images, groups) < FEWEST_IMAGES:
        return 1.0
    scores, rest = logits.astype(np.float64), 1 / (images + 2)
    label = scores[np.arange(images), labels]
    target = (1 - rest) * label + rest * (scores.sum(axis=1) - label) / (classes - 1)

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(scores * inverse, axis=1) - target * inverse).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(f"{np.exp(found.x):.{DIGITS}g}")


def expected_calibration_error(confidences: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """The distance between confidences and shares of right answers: the mean over `BINS` bins, weighted by their images.

    Guo et al. 2017, equation 3. Confidences of the answers in [0, 1], float32 [n]; whether each is right, bool [n], n at least 1.
    """
    return float(_error(_bins(confidences), confidences.astype(np.float64), right.astype(np.float64)))


@dataclass(frozen=True, kw_only=True)
class ByChance:
    """The error that calibrated confidences would show on as many images: the mean, and the bound that 95 of 100 cases stay below."""

    mean: float
    most: float


def error_by_chance(confidences: NDArray[np.float32], groups: Groups | None = None, seed: int = 0) -> ByChance:
    """The error that calibrated confidences [n] show by chance: labels are drawn from them.

    The error is a mean of absolute values, so it is above 0 for calibrated confidences too, the more so the fewer images there are
    (Bröcker & Smith 2007, "Increasing the Reliability of Reliability Diagrams", call it consistency resampling).

    Near-duplicates, which have one number in `groups` [n], share one draw: they are right or wrong together as far as their confidences
    allow. That is the most that chance can do. How much less it did cannot be told from a few groups (docs/adr/0029).
    """
    rng, bins, said = np.random.default_rng(seed), _bins(confidences), confidences.astype(np.float64)
    members = np.arange(len(said)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(members.max()) + 1
    drawn = [_error(bins, said, (rng.random(count)[members] < said).astype(np.float64)) for _ in range(DRAWS)]
    return ByChance(mean=float(np.mean(drawn)), most=float(np.quantile(drawn, 0.95)))


def _bins(confidences: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each, where bin b holds what is above b / BINS and at most (b + 1) / BINS."""
    return np.clip(np.ceil(confidences.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _error(bins: NDArray[np.int64], confidences: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(np.abs(np.bincount(bins, weights=right - confidences, minlength=BINS)).sum() / len(bins))
