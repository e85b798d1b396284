"""A temperature makes confidences mean what they say; a threshold keeps its promise; few images are told as few."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from edgetl.metrics.abstention import FEWEST_IMAGES, fit_threshold, lower_bound
from edgetl.metrics.confidence import error_by_chance, expected_calibration_error, fit_temperature


def drawn(images: int, temperature: float, seed: int = 0, classes: int = 10) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of a network that is honest at that temperature: labels are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 4, (images, classes)) * temperature).astype(np.float32)
    chances = softmax(logits.astype(np.float64) / temperature, axis=1)
    labels = (chances.cumsum(axis=1) < rng.random((images, 1))).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.04)


def test_no_temperature_of_a_grid_is_likelier() -> None:
    logits, labels = drawn(300, 2.0, seed=4)
    rest = 1 / 302
    targets = np.full(logits.shape, rest / 9)
    targets[np.arange(300), labels] = 1 - rest

    def loss(temperature: float) -> float:
        return float(-(targets * log_softmax(logits.astype(np.float64) / temperature, axis=1)).sum(axis=1).mean())

    found = loss(fit_temperature(logits, labels))
    assert all(found <= loss(t) + 1e-6 for t in np.geomspace(0.05, 20, 400))


def test_images_that_are_all_right_do_not_ask_for_certainty() -> None:
    logits = np.tile(np.float32([4, 0, 0]), (60, 1))
    found = fit_temperature(logits, np.zeros(60, dtype=np.int64))
    chance = softmax(logits[0].astype(np.float64) / found)[0]
    assert chance == pytest.approx(61 / 62, abs=1e-3)  # Laplace's rule of succession


def test_few_images_leave_the_temperature_and_set_no_threshold() -> None:
    logits, labels = drawn(FEWEST_IMAGES - 1, 3.0)
    assert fit_temperature(logits, labels) == 1.0
    scenes = np.arange(60) // 30  # 60 frames of two scenes tell no more than two photos
    assert fit_temperature(np.tile(logits, (3, 1))[:60], np.tile(labels, 3)[:60], scenes) == 1.0
    assert fit_threshold(np.linspace(0, 1, 60, dtype=np.float32), np.ones(60, dtype=bool), 0.9, groups=scenes).reach == "too few images"
    found = fit_threshold(np.linspace(0, 1, 29, dtype=np.float32), np.ones(29, dtype=bool), 0.9)
    assert (found.value, found.reach, found.coverage) == (None, "too few images", 1.0)


def test_the_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    confidences, right = rng.random(500).astype(np.float32), rng.random(500) < 0.5
    error = 0.0
    for b in range(15):
        inside = (confidences > b / 15) & (confidences <= (b + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidences[inside].astype(np.float64).mean())
    assert expected_calibration_error(confidences, right) == pytest.approx(error, abs=1e-9)
    assert expected_calibration_error(np.float32([1, 1, 1, 1]), np.array([True, True, False, False])) == 0.5


def test_honest_confidences_show_an_error_by_chance_and_sure_ones_more() -> None:
    rng = np.random.default_rng(2)
    confidences = rng.uniform(0.5, 1, 400).astype(np.float32)
    by_chance = error_by_chance(confidences)
    honest = [expected_calibration_error(confidences, rng.random(400) < confidences) for _ in range(200)]
    assert by_chance.mean == pytest.approx(np.mean(honest), rel=0.1)
    assert 0.02 <= np.mean(np.array(honest) > by_chance.most) <= 0.1
    assert expected_calibration_error(confidences, rng.random(400) < confidences - 0.2) > by_chance.most


@pytest.mark.parametrize(("scenes", "frames"), [(20, 10), (50, 4), (200, 1)])
def test_honest_confidences_of_scenes_that_are_right_as_a_whole_are_seldom_beyond_chance(scenes: int, frames: int) -> None:
    """By 200 separate draws, 20 scenes of 10 frames were said to be beyond chance in 97 of 100 sets, 50 of 4 in 80."""
    rng, groups = np.random.default_rng(5), np.repeat(np.arange(scenes), frames)
    beyond = []
    for seed in range(100):
        confidences, draws = rng.uniform(0.55, 0.95, scenes).astype(np.float32), rng.random(scenes)
        right = (draws < confidences)[groups]
        beyond.append(expected_calibration_error(confidences[groups], right) > error_by_chance(confidences[groups], groups, seed).most)
    assert np.mean(beyond) <= 0.12


def test_images_that_are_alone_are_drawn_as_without_groups() -> None:
    confidences = np.random.default_rng(6).uniform(0.5, 1, 60).astype(np.float32)
    assert error_by_chance(confidences, np.arange(60)) == error_by_chance(confidences)
    assert error_by_chance(confidences, np.zeros(60, dtype=np.int64)).most > 2 * error_by_chance(confidences).most


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    low = lower_bound(45, 50, 0.05)
    assert binom.sf(44, 50, low) == pytest.approx(0.05, abs=1e-9)
    assert lower_bound(0, 50, 0.05) == 0.0 and lower_bound(50, 50, 0.05) == pytest.approx(0.05 ** (1 / 50))


def chances(images: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences that are honest."""
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.3, 1, images).astype(np.float32)
    return confidences, rng.random(images) < confidences


def test_a_threshold_that_is_shown_errs_in_at_most_five_of_a_hundred_cases() -> None:
    found = [fit_threshold(*chances(600, seed), 0.85) for seed in range(400)]
    shown = [one.value for one in found if one.reach == "shown"]
    # Honest confidences above t, uniform up to 1, are right in (1 + t) / 2 of the cases.
    broken = [value for value in shown if value is not None and (1 + value) / 2 < 0.85]
    assert len(shown) > 250 and len(broken) / len(found) <= 0.05


def test_the_lowest_measured_threshold_is_taken_where_none_can_be_shown() -> None:
    confidences = np.linspace(0.5, 0.99, 50, dtype=np.float32)
    right = np.arange(50) >= 10
    found = fit_threshold(confidences, right, 0.97)
    assert found.reach == "measured" and found.precision is not None and found.precision >= 0.97
    assert found.value is not None and found.coverage == np.mean(confidences >= found.value)
    lower = right[confidences >= found.value - 0.01]
    assert lower.mean() < 0.97


def test_all_images_are_answered_where_that_is_precise_enough_and_none_below_what_was_seen() -> None:
    confidences = np.linspace(0.61, 1, 200, dtype=np.float32)
    found = fit_threshold(confidences, np.ones(200, dtype=bool), 0.95)
    assert (found.reach, found.value, found.precision, found.coverage) == ("shown", pytest.approx(0.61, abs=2e-4), 1.0, 1.0)
    assert found.value is not None and found.value <= confidences.min()


def test_a_precision_that_no_threshold_reaches_is_missed() -> None:
    confidences = np.linspace(0.5, 1, 100, dtype=np.float32)
    found = fit_threshold(confidences, np.arange(100) % 2 == 0, 0.9)
    assert (found.value, found.reach, found.precision) == (None, "missed", 0.5)


def test_bursts_show_less_than_as_many_photos() -> None:
    confidences, right = np.linspace(0.61, 1, 200, dtype=np.float32), np.ones(200, dtype=bool)
    assert fit_threshold(confidences, right, 0.97).reach == "shown"
    assert fit_threshold(confidences, right, 0.97, groups=np.arange(200) // 5).reach == "measured"
    assert fit_threshold(confidences, right, 0.97, groups=np.arange(200) // 10).reach == "too few images"  # as of 20 photos
