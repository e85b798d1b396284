"""Which range of an activation the 256 codes cover: of several rules, the one whose codes reconstruct it best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.editing import attributes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.quantization.observe.statistics import Histogram, TensorStatistics

PERCENTILES = (99.9, 99.99, 99.999)
FEWEST_VALUES = 64  # values that judge rules: fewer may all be small by chance, and what is cut off is lost
SHRINK_FACTORS = tuple(np.linspace(1.0, 0.2, 41))  # what the search for the smallest squared error tries
REFINE_FACTORS = tuple(np.linspace(1.1, 0.8, 16))


@dataclass(frozen=True)
class Range:
    """Float32 bounds of an activation, in its own units; `low` <= 0 <= `high`, so that zero has an exact code."""

    low: float
    high: float

    @staticmethod
    def around_zero(low: float, high: float) -> Range:
        """The smallest range that holds `low`, `high` and zero."""
        return Range(min(float(low), 0.0), max(float(high), 0.0))

    def scaled(self, low: float, high: float) -> Range:
        """Both bounds times a factor."""
        return Range(self.low * low, self.high * high)


@dataclass(frozen=True, kw_only=True)
class ChosenRange:
    """A range, the rule that gave it, and what it costs.

    Attributes:
        rule: "min-max", "moving average", "percentile 99.99", "squared error", "levels of pixels".
        error: mean squared error of the reconstructed values of held-out images, weighed as in `TensorStatistics`, in its units squared.
        min_max_error: the same, had the extremes been the range.
    """

    range: Range
    rule: str
    error: float
    min_max_error: float


def choose_range(seen: TensorStatistics, within: Range | None = None) -> ChosenRange:
    """The range for what was seen, among the rules of the field.

    Args:
        seen: of the tensor.
        within: what its reader makes use of; codes outside would be wasted.
    """
    judge = seen.held_out if seen.held_out.total else seen.fitted
    points = clipped(judge, within)
    found: dict[str, Range] = {name: clip_range(rule(seen), within) for name, rule in RULES.items()}
    errors = {name: reconstruction_error(*points, judge.total, candidate) for name, candidate in found.items()}
    searched = least_squared_error(*clipped(seen.fitted, within), seen.fitted.total, found["min-max"])
    found["squared error"] = searched
    errors["squared error"] = reconstruction_error(*points, judge.total, searched)
    best = min(errors, key=lambda name: errors[name]) if judge.total >= FEWEST_VALUES else "min-max"  # of equals the first, the simplest
    return ChosenRange(range=found[best], rule=best, error=errors[best], min_max_error=errors["min-max"])


def extremes(seen: TensorStatistics, within: Range | None = None) -> Range:
    """From the smallest to the largest value seen, as far as its reader makes use of them."""
    return clip_range(Range.around_zero(seen.low, seen.high), within)


def percentile(seen: TensorStatistics, share: float) -> Range:
    """The range without (100 - share)/2 percent of the values at either end; float32 bounds."""
    centers, counts = with_zeros(seen.fitted)
    if not len(centers):
        return Range(0.0, 0.0)
    below = np.cumsum(counts) / counts.sum()
    tail = (1 - share / 100) / 2
    low, high = np.searchsorted(below, [tail, 1 - tail])
    return Range.around_zero(centers[low], centers[min(high, len(centers) - 1)])


RULES: Mapping[str, Callable[[TensorStatistics], Range]] = {
    "min-max": lambda seen: Range.around_zero(seen.low, seen.high),
    "moving average": lambda seen: Range.around_zero(seen.mean_low, seen.mean_high),
    **{f"percentile {share}": (lambda seen, share=share: percentile(seen, share)) for share in PERCENTILES},  # type: ignore[misc]
}


def least_squared_error(centers: NDArray[np.float64], counts: NDArray[np.float64], total: float, widest: Range) -> Range:
    """The range within `widest` with the smallest squared error on a histogram: both ends together, then each alone."""
    best, error = widest, reconstruction_error(centers, counts, total, widest)

    def search(factors: Iterable[tuple[float, float]]) -> bool:
        """Whether the last one is the best."""
        nonlocal best, error
        start, last = best, False
        for low, high in factors:
            candidate = start.scaled(low, high)
            candidate = Range(max(candidate.low, widest.low), min(candidate.high, widest.high))
            now = reconstruction_error(centers, counts, total, candidate)
            last = now < error
            if last:
                best, error = candidate, now
        return last

    while search((factor, factor) for factor in SHRINK_FACTORS):
        pass  # what is best may be smaller yet
    if widest.low < 0 < widest.high:
        search((factor, 1.0) for factor in REFINE_FACTORS)
        search((1.0, factor) for factor in REFINE_FACTORS)
    return best


def reconstruction_error(centers: NDArray[np.float64], counts: NDArray[np.float64], total: float, bounds: Range) -> float:
    """Mean squared difference between values (bin centers and counts, float64 [bins]) and what their uint8 codes stand for."""
    scale = (bounds.high - bounds.low) / UINT8_MAX
    if not total:
        return 0.0
    if scale <= 0:
        return float(np.sum(counts * centers**2) / total)
    zero = round(-bounds.low / scale)
    codes = np.clip(np.rint(centers / scale) + zero, 0, UINT8_MAX)
    return float(np.sum(counts * ((codes - zero) * scale - centers) ** 2) / total)


def with_zeros(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centers and counts, float64 [bins], zeros included, in ascending order."""
    centers, counts = histogram.points()
    at = int(np.searchsorted(centers, 0.0))
    return np.insert(centers, at, 0.0), np.insert(counts, at, histogram.zeros)


def clipped(histogram: Histogram, within: Range | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centers and counts, as a reader sees them that makes no difference between values outside `within`."""
    centers, counts = histogram.points()
    return (np.clip(centers, within.low, within.high) if within else centers), counts


def clip_range(bounds: Range, within: Range | None) -> Range:
    """`bounds` without what lies outside `within`."""
    return Range.around_zero(max(bounds.low, within.low), min(bounds.high, within.high)) if within else bounds


def consumed_range(index: GraphIndex) -> dict[str, Range]:
    """Tensors whose only reader throws part of them away, and what it uses.

    HardSwish is 0 below -3, HardSigmoid constant outside its slope. (The QDQ writer does the same for Relu and Clip.)
    """
    single = {name: found[0] for name, found in index.readers.items() if len(found) == 1 and name not in index.outputs}
    return {name: used for name, node in single.items() if (used := _consumed_range(node)) is not None}


def _consumed_range(reader: onnx.NodeProto) -> Range | None:
    match reader.op_type:
        case "HardSwish":
            return Range(-3.0, np.inf)
        case "HardSigmoid":
            given = attributes(reader)
            alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
            return Range(-beta / alpha, (1 - beta) / alpha) if alpha > 0 and 0 <= beta <= 1 else None
        case _:
            return None
