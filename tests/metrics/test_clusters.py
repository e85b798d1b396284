"""How much groups of near-duplicates tell: against the variance of simulated means, closed forms, and one vote a scene."""

from __future__ import annotations

import numpy as np
import pytest

from edgetl.metrics.clusters import design_effect, group_numbers
from edgetl.metrics.evidence import evidence
from edgetl.metrics.parity import images_needed, paired_drop, share_interval, tango, verdict, wilson
from edgetl.metrics.recall import class_losses

SCENES = np.repeat(np.arange(20), 10)


def test_images_of_one_group_share_a_number() -> None:
    assert group_numbers("abcdef", [("b", "e", "x"), ("c", "d")]).tolist() == [0, 1, 2, 2, 1, 3]


def test_images_that_are_alone_count_as_before() -> None:
    right = np.random.default_rng(0).random(50) < 0.8
    assert design_effect(right, None) == design_effect(right, np.arange(50)) == 1
    assert paired_drop(right, ~right, groups=np.arange(50)) == paired_drop(right, ~right)
    assert share_interval(right, np.arange(50)) == wilson(int(right.sum()), 50)


def test_twenty_scenes_of_ten_frames_prove_what_twenty_photos_do() -> None:
    """No answer differs: nothing says that frames of a scene are more than one photo."""
    right = np.ones(200, dtype=bool)
    alone, grouped = paired_drop(right, right), paired_drop(right, right, groups=SCENES)
    assert alone.high == pytest.approx(0.0188, abs=1e-4) and verdict(alone, 0.05) == "certified"
    assert grouped.high == pytest.approx(tango(0, 0, 20, 0.95)[1]) == pytest.approx(0.1611, abs=1e-4)
    assert verdict(grouped, 0.05) == "passed" and grouped.effective_images == 20
    needed = images_needed(grouped, 0.05)
    assert needed == 10 * 73 and tango(0, 0, 73, 0.95)[1] <= 0.05 < tango(0, 0, 72, 0.95)[1]


@pytest.mark.parametrize("lost", [0, 1, 9])
def test_copies_of_each_image_tell_no_more_than_the_images(lost: int) -> None:
    """20 images, each ten times: the interval of the 20."""
    reference, candidate = np.ones(20, dtype=bool), np.arange(20) >= lost
    once = paired_drop(reference, candidate)
    often = paired_drop(np.repeat(reference, 10), np.repeat(candidate, 10), groups=SCENES)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert share_interval(np.repeat(candidate, 10), SCENES) == pytest.approx(share_interval(candidate), abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_the_effect_is_the_ratio_of_the_variances_of_the_mean(rho: float) -> None:
    """Many groups of sizes 1 to 9: the mean's variance over many draws, beside that of as many independent images."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(400), rng.integers(1, 10, 400))
    common = (rng.random((1000, 400)) < 0.2)[:, groups]
    own = rng.random((1000, len(groups))) < 0.2
    drawn = np.where(rng.random(own.shape) < np.sqrt(rho), common, own)
    ratio = drawn.mean(1).var() / (0.2 * 0.8 / len(groups))
    assert np.mean([design_effect(values, groups) for values in drawn[:50]]) == pytest.approx(ratio, rel=0.15)


def test_groups_of_groups_are_named_by_nothing() -> None:
    values = np.random.default_rng(1).integers(-1, 2, 200)
    assert design_effect(values, SCENES) == design_effect(values, 7 - 3 * SCENES) > 0.9


def test_one_burst_that_is_lost_is_no_lost_class() -> None:
    """All ten frames of one scene of a class: one photo, not ten."""
    labels = np.repeat([0, 1], [100, 100])
    before, after = np.ones(200, dtype=bool), np.arange(200) < 170
    assert [loss.shown for loss in class_losses(labels, before, after, 0.01)] == [True]
    assert not any(loss.shown for loss in class_losses(labels, before, after, 0.01, groups=SCENES))


def test_one_burst_of_each_class_is_no_evidence() -> None:
    matrix = np.array([[9, 1], [1, 9]])
    assert evidence(matrix).knows and not evidence(matrix, design_effect=10).knows
