"""Does a model still answer like the one it came from? The statistics of that question. numpy only.

Two models judged on the same images are paired: only the images on which exactly one of them is right carry
information about the drop. Intervals that ignore the pairing are far too wide for models that agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.metrics.clusters import Groups, design_effect

VerdictWord = Literal["certified", "passed", "undecided", "failed"]
Standing = Literal["within", "undecided", "beyond"]
BISECTIONS = 60  # halvings of an interval at most 2 wide: far below the resolution of a float64
MOST_IMAGES = 10**9


@dataclass(frozen=True, kw_only=True)
class PairedDrop:
    """The drop (reference score minus candidate score, a fraction) and its interval.

    Attributes:
        drop: (lost - gained) / images.
        low, high: bounds of the interval at `confidence`.
        images: how many were judged.
        lost: images that the reference alone answers right.
        gained: images that the candidate alone answers right.
        confidence: of the interval, two-sided.
        design_effect: images for what one independent image tells; above 1 where images come in groups.
    """

    drop: float
    low: float
    high: float
    images: int
    lost: int
    gained: int
    confidence: float
    design_effect: float = 1.0

    @property
    def effective_images(self) -> float:
        """How many independent images would tell as much."""
        return self.images / self.design_effect


def agreement(reference: NDArray[np.int64], candidate: NDArray[np.int64]) -> float:
    """The share of images, in [0, 1], to which two models give the same answer: int64 [n], int64 [n].

    Raises:
        ValueError: no images, or not as many answers from one as from the other.
    """
    _same_length(reference, candidate)
    return float(np.mean(reference == candidate))


def sqnr_db(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
    """Signal to quantization noise, 10 log10(sum(reference^2) / sum((reference - candidate)^2)), in dB.

    Outputs of any one shape. Infinite where they are equal; minus infinite where the reference is all zeros and they are not.
    """
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    noise = float(np.sum(np.square(reference.astype(np.float64) - candidate)))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def relative_noise(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared error of each image's outputs over their own square, or over the median image's where that is more, float64 [n].

    Images count alike: neither the few with outputs far beyond the others', nor those with outputs near zero.

    Args:
        reference: outputs of n images, of any one shape [n, ...].
        candidate: the same of another model.
    """
    flat = reference.reshape(len(reference), -1).astype(np.float64)
    signal = np.square(flat).sum(1)
    noise = np.square(flat - candidate.reshape(len(candidate), -1)).sum(1)
    usual = np.median(signal) or signal.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise > 0, noise / np.maximum(signal, usual), 0.0)


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927, JASA 22:209-212); counts may be fractions (effective numbers).

    Raises:
        ValueError: no images, or more successes than images.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 to n successes among n >= 1, found {successes} among {n}")
    z, share = _critical(confidence), successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else center - half, 1.0 if successes == n else center + half)


def share_interval(right: NDArray[np.bool_], groups: Groups | None = None, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of the share of True in bool [n], at the effective number of images where they come in groups, int64 [n]."""
    effect = design_effect(right, groups)
    return wilson(int(right.sum()) / effect, len(right) / effect, confidence)


def paired_drop(
    reference_correct: NDArray[np.bool_],
    candidate_correct: NDArray[np.bool_],
    confidence: float = 0.95,
    *,
    groups: Groups | None = None,
) -> PairedDrop:
    """The drop between two models judged on the same images, with Tango's score interval.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17:891-908. bool [n], bool [n]. Where images come in `groups`, int64 [n], the interval is that of
    the effective number of images (`edgetl.metrics.clusters`).

    Raises:
        ValueError: no images, or not as many from one as from the other.
    """
    _same_length(reference_correct, candidate_correct)
    lost = int(np.sum(reference_correct & ~candidate_correct))
    gained = int(np.sum(candidate_correct & ~reference_correct))
    images = len(reference_correct)
    effect = design_effect(reference_correct.astype(np.int64) - candidate_correct, groups)
    low, high = tango(lost / effect, gained / effect, images / effect, confidence)
    return PairedDrop(
        drop=(lost - gained) / images,
        low=low,
        high=high,
        images=images,
        lost=lost,
        gained=gained,
        confidence=confidence,
        design_effect=effect,
    )


def tango(lost: float, gained: float, images: float, confidence: float) -> tuple[float, float]:
    """Tango's score interval of (lost - gained) / images; counts may be fractions (for planning).

    Solves |score(delta)| = z for delta on either side of the estimate; the score falls monotonically in delta.
    """
    z, estimate = _critical(confidence), (lost - gained) / images
    low = -1.0 if estimate <= -1 else _falls_through(lambda delta: score(delta, lost, gained, images) - z, -1.0, estimate)
    high = 1.0 if estimate >= 1 else _falls_through(lambda delta: score(delta, lost, gained, images) + z, estimate, 1.0)
    return low, high


def score(delta: float, lost: float, gained: float, images: float) -> float:
    """Tango's score statistic for the hypothesis "the drop is delta", delta in [-1, 1] (Tango 1998).

    The nuisance parameter, the probability of `gained`, takes its maximum-likelihood value under the hypothesis: the
    larger root of a q^2 + b q + c = 0.
    """
    a = 2 * images
    b = -lost - gained + (2 * images - lost + gained) * delta
    c = -gained * delta * (1 - delta)
    square_root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    root = -2 * c / (b + square_root) if b > 0 else (square_root - b) / (2 * a)  # the same number, without cancellation
    variance = images * (2 * root + delta * (1 - delta))
    distance = lost - gained - images * delta
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def standing(low: float, high: float, max_drop: float) -> Standing:
    """Where a drop with the interval `low` to `high` is: `within` the budget, `beyond` it, or `undecided`; fractions.

    One rule for every budget: the whole interval decides, or nothing is decided (docs/adr/0028).
    """
    if high <= max_drop:
        return "within"
    return "beyond" if low > max_drop else "undecided"


def verdict_of(drop: float, low: float, high: float, max_drop: float) -> VerdictWord:
    """The word for a standing; fractions.

    `certified` is within, `failed` beyond; of what is undecided, `passed` was measured within the budget, `undecided` over it.
    """
    match standing(low, high, max_drop):
        case "within":
            return "certified"
        case "beyond":
            return "failed"
        case "undecided":
            return "passed" if drop <= max_drop else "undecided"


def verdict(drop: PairedDrop, max_drop: float) -> VerdictWord:
    """`verdict_of` a measured drop."""
    return verdict_of(drop.drop, drop.low, drop.high, max_drop)


def images_needed(drop: PairedDrop, max_drop: float, confidence: float | None = None) -> int | None:
    """How many test images would certify `max_drop` if images went on being lost and gained at the observed rates, in such groups.

    None where no number would: the measured drop uses up the budget. `confidence` is that of `drop` unless given.
    """
    lost, gained, level = drop.lost / drop.images, drop.gained / drop.images, confidence or drop.confidence

    def proves(images: int) -> bool:
        return tango(lost * images, gained * images, images, level)[1] <= max_drop

    if drop.drop >= max_drop or not proves(MOST_IMAGES):
        return None
    few, many = 0, MOST_IMAGES
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if proves(middle) else (middle, many)
    return math.ceil(many * drop.design_effect)


def _falls_through(function: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _critical(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _same_length(first: NDArray[np.bool_] | NDArray[np.int64], second: NDArray[np.bool_] | NDArray[np.int64]) -> None:
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"expected two answers to each of at least one image, found shapes {first.shape} and {second.shape}")
