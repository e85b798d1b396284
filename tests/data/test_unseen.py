"""A filter's hits count where chance does not explain them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from scipy.stats import binom

from edgetl.core.seen import SeenImages
from edgetl.data.digits import digit_images
from edgetl.data.images import Images
from edgetl.data.unseen import BY_CHANCE, _beyond_chance, by_bytes, compare_with_record
from edgetl.settings import DataSettings


@pytest.mark.parametrize(("count", "rate"), [(153, 0.0027), (450, 0.1), (450, 0.9), (10_000, 0.91), (20, 0.5), (5, 0.999)])
def test_the_least_number_of_hits_beyond_chance_is_that_of_the_binomial_tail(count: int, rate: float) -> None:
    least = _beyond_chance(count, rate)
    assert binom.sf(least - 1, count, rate) < BY_CHANCE <= binom.sf(least - 2, count, rate)


def shas(first: int, count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, first + count)]


def judging(hashes: list[str]) -> Images:
    """As many images as there are hashes, which are theirs."""
    images = digit_images(DataSettings()).only("test")
    return replace(images, refs=tuple(replace(images.refs[0], sha256=sha) for sha in hashes))


def test_a_crowded_filter_refuses_a_leaked_set_and_no_clean_one_and_says_what_it_cannot_show() -> None:
    record = SeenImages.of("s", train=shas(0, 20_000)).compact()
    rate = record.false_positive_rate
    assert 0.5 < rate < 0.9
    refused = 0
    for trial in range(200):
        found, limits = by_bytes(judging(shas(10**6 + 400 * trial, 400)), record)
        refused += bool(found)
        assert f"takes {rate:.2g} of all unseen images for seen ones" in limits[0]
    assert refused <= 2  # 200 trials at odds of 1 in 1,000: more than two has odds of 1 in 900
    found, _ = by_bytes(judging(shas(0, 400)), record)
    assert len(found) == 400


def test_a_roomy_filter_finds_a_single_image_and_has_nothing_to_say() -> None:
    record = SeenImages.of("s", train=shas(0, 500)).compact()
    found = compare_with_record(judging([*shas(0, 1), *shas(10**6, 400)]), record)
    assert set(found.found) == set(shas(0, 1)) and found.complete
