"""Laws of histograms and of the choice among ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.quantization.heldout import parts
from edgetl.quantization.observers import HALF, Histogram, Seen
from edgetl.quantization.ranges import CODES, Range, choose, extremes, reconstruction_error


def histogram_of(*parts: NDArray[np.float32]) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part)
    return found


def values(seed: int, scale: float = 1.0, n: int = 5000) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def seen_of(make: dict[int, NDArray[np.float32]]) -> Seen:
    seen = Seen()
    for part in make.values():
        seen.add(float(part.min()), float(part.max()), part.ravel())
    return seen


def test_order_does_not_matter_even_when_bins_widen() -> None:
    parts = [values(0, 0.001), values(1), values(2, 300.0), np.zeros(7, np.float32)]
    there, back = histogram_of(*parts), histogram_of(*reversed(parts))
    np.testing.assert_array_equal(there.counts, back.counts)
    assert (there.exponent, there.zeros) == (back.exponent, back.zeros) == (there.exponent, 7)


def test_every_value_is_in_the_bin_that_holds_it() -> None:
    found = values(3, 5.0)
    histogram = histogram_of(found)
    width = 2.0**histogram.exponent
    brute = np.zeros(2 * HALF, np.int64)
    for value in found:
        brute[int(np.floor(value / width)) + HALF] += 1
    np.testing.assert_array_equal(histogram.counts, brute)
    assert HALF / 2 <= np.abs(found).max() / width <= HALF  # fine enough: at least a quarter of the bins are in use
    assert histogram.total == len(found)


def test_bounds_at_a_power_of_two_have_a_bin() -> None:
    edge = np.array([1.0, -1.0, 2.0, -2.0, 0.5], np.float32)
    assert histogram_of(edge).counts.sum() == 5


def test_the_error_of_a_range_is_that_of_its_codes() -> None:
    found = values(4, 2.0, 20_000)
    bounds = Range(-3.0, 4.0)
    scale = (bounds.high - bounds.low) / CODES
    zero = round(-bounds.low / scale)
    decoded = (np.clip(np.rint(found / scale) + zero, 0, CODES) - zero) * scale
    histogram = histogram_of(found)
    assert reconstruction_error(*histogram.points(), histogram.total, bounds) == pytest.approx(np.mean((decoded - found) ** 2), rel=0.05)


def test_one_outlier_does_not_take_the_codes_of_all_others() -> None:
    images = {seed: np.maximum(values(seed), 0) for seed in range(8)}
    images[0][0] = 500.0
    seen = seen_of(images)
    found = choose(seen)
    assert extremes(seen).high == 500
    assert found.range.high < 10 and found.rule != "min-max"
    assert found.error < found.min_max_error / 100


def test_uniform_values_keep_their_extremes() -> None:
    rng = np.random.default_rng(0)
    found = choose(seen_of({i: rng.uniform(0, 6, 5000).astype(np.float32) for i in range(8)}))
    assert found.range.low == 0 and found.range.high == pytest.approx(6, rel=0.01)


def test_what_the_reader_throws_away_gets_no_codes() -> None:
    seen = seen_of({seed: values(seed, 4.0) for seed in range(8)})
    found = choose(seen, Range(-3.0, np.inf))
    assert found.range.low >= -3 and found.range.high > 6


def test_a_constant_zero_has_a_range() -> None:
    assert choose(seen_of({0: np.zeros(10, np.float32)})).range == Range(0.0, 0.0)


def test_what_judges_was_not_fitted_and_nothing_is_lost(noise: Any) -> None:
    source = noise(23)
    fitting, judging = parts(source)
    fitted, judged = ([image for batch in part.batches(4) for image in batch.x] for part in (fitting, judging))
    assert (len(fitted), len(judged)) == (len(fitting), len(judging)) == (19, 4)
    every = {image.tobytes() for image in (*fitted, *judged)}
    assert every == {source.image(i).tobytes() for i in range(23)}
    assert all(batch.x.shape[0] <= 4 for batch in fitting.batches(4))


def test_a_handful_of_images_does_both(noise: Any) -> None:
    source = noise(3)
    assert parts(source) == (source, source)
