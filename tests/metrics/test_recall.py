"""Laws of lost classes, against exact probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from edgetl.metrics.recall import binomial_tail, class_budget, class_losses, p_value, shown_least


def losses(sizes: list[int], before: list[int], after: list[int], max_drop: float = 0.05) -> dict[int, bool]:
    """Label -> whether it is shown, of classes of which so many images are right before and after."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    right = [np.concatenate([np.arange(n) < r for n, r in zip(sizes, rights, strict=True)]) for rights in (before, after)]
    return {loss.label: loss.shown for loss in class_losses(labels, right[0], right[1], max_drop)}


def test_a_class_of_four_images_that_goes_whole_is_shown_to_be_lost() -> None:
    assert losses([96, 4], [96, 4], [96, 0]) == {1: True}


def test_a_class_of_one_image_is_named_but_not_shown() -> None:
    assert losses([60, 1], [58, 1], [58, 0]) == {1: False}


def test_half_of_a_small_class_is_named() -> None:
    assert losses([60, 60, 60, 3], [60, 60, 60, 3], [60, 60, 60, 1]) == {3: False}


def test_a_large_class_that_loses_a_fifth_is_shown_and_one_that_loses_a_tenth_is_not() -> None:
    assert losses([200, 200], [200, 200], [160, 180]) == {0: True}


def test_a_class_that_was_lost_before_is_not_lost_again() -> None:
    assert losses([50, 4], [50, 0], [50, 0]) == {}


def test_of_many_classes_more_is_asked_than_of_one() -> None:
    """Three of three lost: p = 0.001, which is shown among 10 classes and not among 100."""
    assert losses([3] * 10, [3] * 10, [3] * 9 + [0]) == {9: True}
    assert losses([3] * 100, [3] * 100, [3] * 99 + [0]) == {99: False}


def test_the_budget_of_a_class_is_wider_than_that_of_the_score() -> None:
    assert class_budget(0.01) == 0.1 and class_budget(0.2) == 0.4


def test_few_images_are_judged_exactly() -> None:
    assert binomial_tail(3, 4, 0.1) == pytest.approx(4 * 0.1**3 * 0.9 + 0.1**4)
    assert p_value(4, 0, 4, 0.1, 0.0) == pytest.approx(1e-4)
    exact = sum(math.comb(20, n) * 0.15**n * 0.85 ** (20 - n) for n in range(8, 21))
    assert p_value(8, 0, 20, 0.1, 0.05) == pytest.approx(exact)


def test_classes_that_lose_just_their_budget_are_rarely_named_lost() -> None:
    rng, named = np.random.default_rng(3), 0
    labels = np.repeat(np.arange(10), 40)
    for _ in range(300):
        u = rng.random(400)
        before, after = u < 0.9, (u < 0.76) | (u > 0.96)  # lost 14%, won 4%
        named += any(loss.shown for loss in class_losses(labels, before, after, 0.05))
    assert named <= 25


def test_equal_models_lose_no_class() -> None:
    rng, named = np.random.default_rng(4), 0
    labels = np.repeat(np.arange(10), 40)
    for _ in range(200):
        u = rng.random(400)
        named += any(loss.shown for loss in class_losses(labels, u < 0.93, (u < 0.9) | (u > 0.97), 0.01))
    assert named == 0


@pytest.mark.parametrize("rows", [(3, 10, 90, 100), (64, 70, 77, 83), (140, 220, 738, 980), (0, 5, 20, 20), (5, 5, 3, 9)])
def test_the_weakest_class_is_shown_by_fishers_exact_test(rows: tuple[int, int, int, int]) -> None:
    found, images, others, other_images = rows
    p = fisher_exact([[found, images - found], [others, other_images - others]], alternative="less").pvalue
    for classes in (2, 5, 50):
        assert shown_least(*rows, classes) == (p <= 0.05 / classes)


def test_of_equal_classes_one_is_seldom_shown_to_be_the_weakest() -> None:
    rng, shown = np.random.default_rng(0), 0
    for _ in range(2000):
        hits = rng.binomial(40, 0.85, size=5)
        least = int(hits.min())
        shown += shown_least(least, 40, int(hits.sum()) - least, 160, 5)
    assert shown / 2000 <= 0.05
