"""The statistics of parity against published values, brute force and exact coverage."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy import stats

from edgetl.metrics.parity import (
    PairedDrop,
    agreement,
    images_needed,
    paired_drop,
    relative_noise,
    score,
    sqnr_db,
    standing,
    tango,
    verdict,
    verdict_of,
    wilson,
)

Z95 = stats.norm.ppf(0.975)


def drop_of(lost: int, gained: int, images: int, confidence: float = 0.95) -> PairedDrop:
    both = images - lost - gained
    reference = np.array([True] * (both + lost) + [False] * gained)
    candidate = np.array([True] * both + [False] * lost + [True] * gained)
    return paired_drop(reference, candidate, confidence)


def brute_score(delta: float, lost: int, gained: int, images: int) -> float:
    """The score with the nuisance probability found by searching the likelihood, not by Tango's formula."""
    low, high = max(0.0, -delta), (1 - delta) / 2
    for _ in range(12):  # zoom in on the maximum of a concave function
        q = np.linspace(low, high, 401)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [(lost, q + delta), (gained, q), (images - lost - gained, 1 - 2 * q - delta)]
            likelihood = sum(n * np.log(p) if n else np.zeros_like(p) for n, p in parts)
        best = int(np.nanargmax(np.nan_to_num(likelihood, nan=-np.inf)))
        low, high = q[max(best - 1, 0)], q[min(best + 1, 400)]
    gained_share = q[best]
    return float((lost - gained - images * delta) / math.sqrt(images * (2 * gained_share + delta * (1 - delta))))


@pytest.mark.parametrize(
    ("lost", "gained", "images"), [(1, 7, 21), (5, 2, 40), (0, 3, 30), (4, 0, 30), (0, 0, 25), (12, 12, 60), (3, 1, 2000)]
)
def test_the_score_is_the_constrained_maximum_likelihood_one(lost: int, gained: int, images: int) -> None:
    for delta in (-0.6, -0.2, -0.01, 0.004, 0.1, 0.5):
        assert score(delta, lost, gained, images) == pytest.approx(brute_score(delta, lost, gained, images), rel=1e-4, abs=1e-4)


def test_a_published_interval() -> None:
    """Airway hyper-responsiveness of 21 children: Tango's interval is -0.517 to -0.026.

    Fagerland, Lydersen & Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions",
    Statistics in Medicine 33:2850-2875.
    """
    low, high = tango(1, 7, 21, 0.95)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(
    ("lost", "gained", "images"), [(1, 7, 21), (3, 0, 50), (0, 0, 44), (9, 9, 30), (30, 0, 30), (0, 30, 30), (1, 0, 1)]
)
def test_bounds_solve_the_score_equation(lost: int, gained: int, images: int) -> None:
    low, high = tango(lost, gained, images, 0.95)
    estimate = (lost - gained) / images
    assert -1 <= low <= estimate <= high <= 1
    if low > -1:
        assert score(low, lost, gained, images) == pytest.approx(Z95, rel=1e-6)
    if high < 1:
        assert score(high, lost, gained, images) == pytest.approx(-Z95, rel=1e-6)
    assert tango(gained, lost, images, 0.95) == pytest.approx((-high, -low))


def test_without_discordance_the_bound_has_a_closed_form() -> None:
    for images in (1, 44, 450, 10_000):
        low, high = tango(0, 0, images, 0.95)
        assert high == pytest.approx(Z95**2 / (images + Z95**2)) == pytest.approx(-low)


@cache
def intervals(images: int) -> dict[tuple[int, int], tuple[float, float]]:
    return {(b, c): tango(b, c, images, 0.95) for b in range(images + 1) for c in range(images + 1 - b)}


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.02), (0.05, 0.01), (0.1, 0.1), (0.2, 0.05), (0.3, 0.3)])
def test_exact_coverage_is_near_nominal(lost: float, gained: float) -> None:
    """Summed over all outcomes of 40 images: no simulation error."""
    images, covered = 40, 0.0
    for (b, c), (low, high) in intervals(images).items():
        if low <= lost - gained <= high:
            covered += stats.multinomial.pmf([b, c, images - b - c], images, [lost, gained, 1 - lost - gained])
    assert 0.93 <= covered <= 0.995


def test_the_pairing_matters() -> None:
    """The same scores, hardly any images that differ: a far narrower interval."""
    few, many = drop_of(3, 1, 400), drop_of(60, 58, 400)
    assert few.drop == many.drop == 0.005
    assert few.high - few.low < 0.3 * (many.high - many.low)


def test_verdicts() -> None:
    assert verdict(drop_of(0, 0, 450), 0.01) == "certified"
    assert verdict(drop_of(3, 1, 450), 0.01) == "passed"
    assert verdict(drop_of(9, 1, 450), 0.01) == "undecided"  # 1.8 points were measured, 0.3 to 3.7 they may be
    assert verdict(drop_of(19, 1, 450), 0.01) == "failed"
    assert verdict(drop_of(0, 0, 450), 0.0) == "passed"


@pytest.mark.parametrize(("drop", "low", "high", "found", "word"), [
    (0.0, -0.01, 0.01, "within", "certified"),
    (0.0, -0.01, 0.0101, "undecided", "passed"),
    (0.01, -0.01, 0.03, "undecided", "passed"),
    (0.0101, 0.01, 0.03, "undecided", "undecided"),
    (0.02, 0.0101, 0.03, "beyond", "failed"),
])  # fmt: skip
def test_the_whole_interval_decides_or_nothing_is_decided(drop: float, low: float, high: float, found: str, word: str) -> None:
    assert (standing(low, high, 0.01), verdict_of(drop, low, high, 0.01)) == (found, word)


def test_one_lost_photo_of_15_is_no_failure_and_10_are() -> None:
    assert verdict(drop_of(1, 0, 15), 0.05) == "undecided"
    assert verdict(drop_of(10, 0, 15), 0.05) == "failed"


@pytest.mark.parametrize(("lost", "gained", "images"), [(3, 1, 450), (0, 0, 100), (2, 5, 60), (9, 5, 450)])
def test_images_needed_is_the_smallest_number_that_certifies(lost: int, gained: int, images: int) -> None:
    needed = images_needed(drop_of(lost, gained, images), 0.01)
    assert needed is not None
    b, c = lost / images, gained / images
    assert tango(b * needed, c * needed, needed, 0.95)[1] <= 0.01 < tango(b * (needed - 1), c * (needed - 1), needed - 1, 0.95)[1]


def test_no_number_of_images_certifies_a_drop_at_the_budget() -> None:
    assert images_needed(drop_of(5, 0, 500), 0.01) is None
    assert images_needed(drop_of(0, 0, 500), 0.0) is None


def test_wilson_equals_scipy() -> None:
    for n, confidence in product((1, 7, 450), (0.9, 0.95, 0.99)):
        for successes in (0, n // 2, n):
            expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
            assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_agreement_and_noise() -> None:
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])) == 0.75
    signal = np.random.default_rng(0).standard_normal((100, 10)).astype(np.float32)
    assert sqnr_db(signal, signal * np.float32(1.01)) == pytest.approx(40, abs=0.01)
    assert sqnr_db(signal, signal) == math.inf
    assert sqnr_db(np.zeros(3, np.float32), np.ones(3, np.float32)) == -math.inf


def test_images_count_alike_in_the_relative_noise() -> None:
    """Neither one with outputs a thousand times the others', nor one with outputs near zero."""
    signal = np.random.default_rng(0).standard_normal((99, 10)).astype(np.float32)
    signal /= np.linalg.norm(signal, axis=1, keepdims=True)
    assert relative_noise(signal, signal * np.float32(1.1)) == pytest.approx(np.full(99, 0.01), rel=1e-3)
    signal[0] *= 1000
    assert relative_noise(signal, signal * np.float32(1.1)) == pytest.approx(np.full(99, 0.01), rel=1e-3)
    signal[1] *= 1e-6
    found = relative_noise(signal, signal + np.float32(0.1) * signal[2])
    assert found[0] == pytest.approx(1e-8, rel=1e-3) and found[1:] == pytest.approx(np.full(98, 0.01), rel=1e-3)
    assert not relative_noise(signal, signal).any() and not relative_noise(0 * signal, 0 * signal).any()
    assert np.isinf(relative_noise(0 * signal, signal)).all()


def test_no_images_are_refused() -> None:
    none = np.array([], dtype=bool)
    with pytest.raises(ValueError, match="at least one image"):
        paired_drop(none, none)
    with pytest.raises(ValueError, match="found 3 among 2"):
        wilson(3, 2)
