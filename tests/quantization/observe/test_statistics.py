"""Laws of histograms and of the choice among ranges."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.quantization.observe.ranges import Range, choose_range, extremes, reconstruction_error
from edgetl.quantization.observe.statistics import BINS, OCTAVES, Histogram, TensorStatistics


def histogram_of(*parts: NDArray[np.float32]) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part)
    return found


def values(seed: int, scale: float = 1.0, n: int = 5000) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def seen_of(make: dict[int, NDArray[np.float32]]) -> TensorStatistics:
    seen = TensorStatistics()
    for part in make.values():
        seen.add(float(part.min()), float(part.max()), part.ravel())
    return seen


def test_order_does_not_matter_even_when_what_is_small_shares_a_bin() -> None:
    parts = [values(0, 1e-6), values(1), values(2, 3000.0), np.zeros(7, np.float32)]
    there, back = histogram_of(*parts), histogram_of(*reversed(parts))
    np.testing.assert_array_equal(there.counts, back.counts)
    assert (there.end, there.zeros) == (back.end, 7)
    assert there.total == 15_007 and there.counts[:, 0].sum() > 4_000


def test_every_value_is_in_the_bin_that_holds_it() -> None:
    found = values(3, 5.0)
    histogram = histogram_of(found)
    centers, counts = histogram.points()
    assert (np.diff(centers) > 0).all() and counts.sum() == len(found) == histogram.total
    nearest = centers[np.abs(found[:, None] - centers).argmin(1)]
    np.testing.assert_allclose(nearest, found, rtol=1 / BINS, atol=np.abs(found).max() * 2.0 ** (1 - OCTAVES))
    brute = Counter(nearest.tolist())
    assert sum(abs(brute[center] - count) for center, count in zip(centers.tolist(), counts.tolist(), strict=True)) < 0.02 * len(found)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_values_of_any_size_have_bins(scale: float) -> None:
    found = (np.array([1.0, -1.0, 2.0, -2.0, 0.5, 3.9999998]) * scale).astype(np.float32)
    centers, counts = histogram_of(found).points()
    assert counts.tolist() == [1] * 6
    np.testing.assert_allclose(centers, np.sort(found), rtol=1 / BINS)


def test_the_error_of_a_range_is_that_of_its_codes() -> None:
    found = values(4, 2.0, 20_000)
    bounds = Range(-3.0, 4.0)
    scale = (bounds.high - bounds.low) / UINT8_MAX
    zero = round(-bounds.low / scale)
    decoded = (np.clip(np.rint(found / scale) + zero, 0, UINT8_MAX) - zero) * scale
    histogram = histogram_of(found)
    assert reconstruction_error(*histogram.points(), histogram.total, bounds) == pytest.approx(np.mean((decoded - found) ** 2), rel=0.05)


def test_one_outlier_does_not_take_the_codes_of_all_others() -> None:
    images = {seed: np.maximum(values(seed), 0) for seed in range(8)}
    images[0][0] = 500.0
    seen = seen_of(images)
    found = choose_range(seen)
    assert extremes(seen).high == 500
    assert found.range.high < 10 and found.rule != "min-max"
    assert found.error < found.min_max_error / 100


def test_one_image_far_beyond_the_others_does_not_take_their_codes() -> None:
    images = {seed: values(seed) for seed in range(24)}
    assert choose_range(seen_of(images)).range.high < 8
    seen = seen_of(images | {10: values(10, 1000.0)})
    assert extremes(seen).high > 1000
    assert choose_range(seen).range.high < 8 and choose_range(seen).rule != "min-max"
    assert seen.fitted.total + seen.held_out.total == pytest.approx(23 * 5000, rel=1e-3)


def test_images_within_a_few_times_the_usual_square_count_once() -> None:
    seen = seen_of({seed: values(seed, 1 + 0.5 * (seed % 3)) for seed in range(24)})
    assert seen.fitted.total + seen.held_out.total == 24 * 5000
    dead = seen_of({seed: values(seed) * (seed % 2) for seed in range(24)})
    assert dead.fitted.total + dead.held_out.total == 24 * 5000 and dead.alive == 12


def test_uniform_values_keep_their_extremes() -> None:
    rng = np.random.default_rng(0)
    found = choose_range(seen_of({i: rng.uniform(0, 6, 5000).astype(np.float32) for i in range(8)}))
    assert found.range.low == 0 and found.range.high == pytest.approx(6, rel=0.01)


def test_what_the_reader_throws_away_gets_no_codes() -> None:
    seen = seen_of({seed: values(seed, 4.0) for seed in range(8)})
    found = choose_range(seen, Range(-3.0, np.inf))
    assert found.range.low >= -3 and found.range.high > 6


def test_a_constant_zero_has_a_range() -> None:
    assert choose_range(seen_of({0: np.zeros(10, np.float32)})).range == Range(0.0, 0.0)
