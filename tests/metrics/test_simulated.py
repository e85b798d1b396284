"""What the intervals and the rules promise, simulated 2,000 times each: coverage, and how often each kind of error happens.

A set of images is drawn with known probabilities of being lost and gained, in groups that answer alike to a known degree. That the true
drop is in the interval, or the budget beyond one of its ends, is the score test of `tango` at that drop: no interval need be solved for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from edgetl.metrics.choice import choose
from edgetl.metrics.clusters import design_effect
from edgetl.metrics.confidence import error_by_chance, expected_calibration_error
from edgetl.metrics.parity import paired_drop, score, tango

pytestmark = pytest.mark.slow
TIMES = 2000
Z95 = float(stats.norm.ppf(0.975))
LAYOUTS: dict[str, Sequence[int]] = {
    "200 photos": [1] * 200,
    "600 photos": [1] * 600,
    "100 bursts of 5": [5] * 100,
    "300 pairs": [2] * 300,
    "200 photos, 30 bursts of 8": [1] * 200 + [8] * 30,
}
SMALL: dict[str, Sequence[int]] = {
    "20 bursts of 10": [10] * 20,
    "50 bursts of 10": [10] * 50,
    "50 bursts of 20": [20] * 50,
    "40 bursts of 1 to 20": [*range(1, 21)] * 2,
    "40 photos, 20 bursts of 15": [1] * 40 + [15] * 20,
}


def outcomes(sizes: Sequence[int], lost: float, gained: float, rho: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [times, n] of 1 (lost), -1 (gained) and 0, correlated by `rho` within groups; and the groups, int64 [n]."""
    rng, groups = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)

    def drawn(count: int) -> NDArray[np.int64]:
        chance = rng.random((TIMES, count))
        return np.where(chance < lost, 1, np.where(chance < lost + gained, -1, 0))

    shared = rng.random((TIMES, len(groups))) < np.sqrt(rho)
    return np.where(shared, drawn(len(sizes))[:, groups], drawn(len(groups))), groups


def scores(values: NDArray[np.int64], groups: NDArray[np.int64] | None, delta: float) -> NDArray[np.float64]:
    """Tango's score of the hypothesis `delta` for each set, at its effective number of images: float64 [times]."""

    def one(row: NDArray[np.int64]) -> float:
        effect = design_effect(row, groups)
        return score(delta, int((row > 0).sum()) / effect, int((row < 0).sum()) / effect, len(row) / effect)

    return np.array([one(row) for row in values])


def overdispersed(
    sizes: Sequence[int], lost: float, gained: float, rho: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `outcomes`, drawn otherwise: each group has probabilities of its own (Dirichlet-multinomial); rho above 0."""
    rng, groups = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    parts = rng.standard_gamma(np.array([lost, gained + 1e-9, 1 - lost - gained]) * (1 - rho) / rho, (TIMES, len(sizes), 3))
    ends = (parts / np.maximum(parts.sum(-1, keepdims=True), 1e-300)).cumsum(-1)[:, groups]
    chance = rng.random(ends.shape[:2])
    return np.where(chance < ends[..., 0], 1, np.where(chance < ends[..., 1], -1, 0)), groups


def known(values: NDArray[np.int64], sizes: Sequence[int], delta: float, rho: float) -> NDArray[np.float64]:
    """As `scores`, where somebody says what rho is: no rule that must find it out can do better."""
    images = len(values[0])
    effect = 1 + rho * (sum(size**2 for size in sizes) / images - 1)
    return np.array([score(delta, (row > 0).sum() / effect, (row < 0).sum() / effect, images / effect) for row in values])


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(("lost", "gained"), [(0.1, 0.1), (0.1, 0.04)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_interval_covers_the_true_drop_with_and_without_groups(layout: str, lost: float, gained: float, rho: float) -> None:
    """94 to 96%, give or take two standard errors at 2,000 repetitions; where few groups show how alike frames answer, more (98.8%)."""
    values, groups = outcomes(LAYOUTS[layout], lost, gained, rho)
    covered = float(np.mean(np.abs(scores(values, groups, lost - gained)) <= Z95))
    assert 0.93 <= covered <= (0.97 if max(LAYOUTS[layout]) == 1 else 0.99)


@pytest.mark.parametrize(
    ("draw", "rho"), [(outcomes, 0.0), (outcomes, 0.3), (outcomes, 0.7), (outcomes, 1.0), (overdispersed, 0.3), (overdispersed, 0.7)]
)
@pytest.mark.parametrize(("lost", "gained"), [(0.05, 0.0), (0.1, 0.0), (0.03, 0.01), (0.05, 0.05)])
@pytest.mark.parametrize("layout", SMALL)
def test_few_bursts_are_judged_with_care(layout: str, lost: float, gained: float, draw: Any, rho: float) -> None:
    """Never much below what the score interval covers where rho is known, and the end that certifies errs in 2.5% (4 standard errors)."""
    values, groups = draw(SMALL[layout], lost, gained, rho)
    found = scores(values, groups, lost - gained)
    covered, best = (float(np.mean(np.abs(by) <= Z95)) for by in (found, known(values, SMALL[layout], lost - gained, rho)))
    assert covered >= min(best, 0.95) - 0.01
    assert float(np.mean(found < -Z95)) <= 0.039


def test_the_simulation_can_fail() -> None:
    """As if frames were photos, 200 of them in 20 bursts: half the intervals miss."""
    values, _ = outcomes(SMALL["20 bursts of 10"], 0.1, 0.1, 0.6)
    assert float(np.mean(np.abs(scores(values, None, 0.0)) <= Z95)) < 0.6


@pytest.mark.parametrize("sizes", [[1] * 30, [1] * 150, [1] * 600, [5] * 60, [10] * 30], ids=lambda sizes: f"{len(sizes)} of {sizes[0]}")
@pytest.mark.parametrize(("lost", "gained", "budget"), [(0.011, 0.0, 0.01), (0.02, 0.0095, 0.01), (0.06, 0.009, 0.05), (0.12, 0.069, 0.05)])
def test_certified_is_wrong_in_at_most_5_of_100_inferior_pairs(sizes: list[int], lost: float, gained: float, budget: float) -> None:
    """True drops just beyond the budget, which are the hardest; within bursts answers go together for the most part."""
    values, groups = outcomes(sizes, lost, gained, 0.0 if max(sizes) == 1 else 0.6)
    assert float(np.mean(scores(values, groups, budget) <= -Z95)) <= 0.05


def rates(lost: float, gained: float, images: int, budget: float, when: str = "measured") -> tuple[float, float]:
    """How often int8 ships, and how often it is called beyond its budget; every count once, as often as it came."""
    rng = np.random.default_rng(images)
    counts, times = np.unique(rng.multinomial(images, [lost, gained, 1 - lost - gained], TIMES)[:, :2], axis=0, return_counts=True)
    ships = beyond = 0
    for (b, c), often in zip(counts, times, strict=True):
        number = np.arange(images)
        reference, candidate = number >= c, number < images - b
        drop = paired_drop(reference, candidate)
        found = choose(drop, budget, differ=reference != candidate, when_undecided=when)  # type: ignore[arg-type]
        ships, beyond = ships + often * found.int8, beyond + often * (found.standing == "beyond")
    return ships / TIMES, beyond / TIMES


@pytest.mark.parametrize(("images", "at_least"), [(15, 0.9), (34, 0.85), (100, 0.93), (270, 0.93), (450, 0.97), (1000, 0.995)])
def test_a_good_int8_model_ships(images: int, at_least: float) -> None:
    """As good as float, answering otherwise to 1.6 of 100 images, half of them to its harm where one answer counts."""
    ships, beyond = rates(0.004, 0.004, images, 0.01)
    assert ships >= at_least and beyond <= 0.025


@pytest.mark.parametrize(
    ("lost", "gained", "images", "at_most"),
    [(0.06, 0.01, 34, 0.3), (0.06, 0.01, 100, 0.12), (0.06, 0.01, 270, 0.01), (0.12, 0.02, 34, 0.1), (0.12, 0.02, 100, 0.015)],
)
def test_a_bad_int8_model_seldom_ships(lost: float, gained: float, images: int, at_most: float) -> None:
    assert rates(lost, gained, images, 0.01)[0] <= at_most


@pytest.mark.parametrize("images", [15, 34, 100, 270, 450, 1000, 3000])
@pytest.mark.parametrize(("lost", "gained"), [(0.01, 0.0), (0.015, 0.005), (0.03, 0.02)])
def test_a_drop_of_the_whole_budget_is_shown_to_be_beyond_or_within_seldom(lost: float, gained: float, images: int) -> None:
    """Each end of a 95% interval errs in 2.5 of 100; the counts of few images make it 4 at worst. And agreement alone errs in 5."""
    ships, beyond = rates(lost, gained, images, 0.01, "float")
    assert beyond <= 0.045 and ships <= 0.05


def test_the_score_test_is_the_interval() -> None:
    """What this file rests on, on 200 outcomes: the budget is at or above the upper end just where the score says so."""
    rng = np.random.default_rng(5)
    for b, c in rng.integers(0, 12, (200, 2)):
        low, high = tango(int(b), int(c), 150, 0.95)
        for delta in (0.01, 0.05):
            assert (high <= delta) == (score(delta, int(b), int(c), 150) <= -Z95)
            assert (low > delta) == (score(delta, int(b), int(c), 150) > Z95)


@pytest.mark.parametrize(("images", "least", "most"), [(20, 0.985, 1.0), (50, 0.95, 0.998), (100, 0.93, 0.986), (200, 0.93, 0.968)])
def test_few_independent_images_cannot_be_covered_in_95_of_100_cases(images: int, least: float, most: float) -> None:
    """Every outcome with its probability, nothing drawn: what no rule for groups can come nearer to than to so many images."""
    for lost, gained in [(0.02, 0.0), (0.05, 0.0), (0.02, 0.02), (0.05, 0.01), (0.05, 0.05)]:
        pairs = [(b, c) for b in range(images + 1) for c in range(images + 1 - b)]
        inside = [pair for pair in pairs if abs(score(lost - gained, *pair, images)) <= Z95]
        law = stats.multinomial(images, [lost, gained, 1 - lost - gained])
        covered = float(law.pmf([(b, c, images - b - c) for b, c in inside]).sum())
        assert least <= covered <= most


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alike", [True, False], ids=["a confidence for each scene", "one for each frame"])
@pytest.mark.parametrize("sizes", [[1] * 200, [10] * 20, [4] * 50, [1] * 100 + [10] * 10], ids=lambda sizes: f"{len(sizes)} of {sizes[-1]}")
def test_calibrated_confidences_are_said_to_be_beyond_chance_in_about_5_of_100_sets(sizes: list[int], alike: bool, rho: float) -> None:
    """5 give or take three standard errors of 400 sets; fewer where frames answer more apart than they might."""
    rng, groups = np.random.default_rng(8), np.repeat(np.arange(len(sizes)), sizes)
    images, beyond = len(groups), 0
    for seed in range(400):
        said = (rng.uniform(0.55, 0.95, len(sizes))[groups] if alike else rng.uniform(0.55, 0.95, images)).astype(np.float32)
        draws = np.where(rng.random(images) < np.sqrt(rho), rng.random(len(sizes))[groups], rng.random(images))
        beyond += expected_calibration_error(said, draws < said) > error_by_chance(said, groups, seed).most
    assert beyond / 400 <= 0.083
    assert beyond / 400 >= 0.02 or (rho < 1 and max(sizes) > 1)
