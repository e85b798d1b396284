"""What ships: each rule by the case that it alone decides, and the bound of the disagreement against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgetl.metrics.choice import FormChoice, WhenUndecided, choose, most_of
from edgetl.metrics.parity import paired_drop


def chosen(
    lost: int, gained: int, images: int, *, when: WhenUndecided = "measured", class_lost: bool = False, float_fits: bool = True
) -> FormChoice:
    number = np.arange(images)
    reference, candidate = number >= gained, (number < images - lost)
    differ = reference != candidate
    drop = paired_drop(reference, candidate)
    return choose(drop, 0.01, differ=differ, class_lost=class_lost, when_undecided=when, float_fits=float_fits)


@pytest.mark.parametrize("when", ["measured", "float", "int8"])
def test_what_is_shown_is_not_asked(when: WhenUndecided) -> None:
    assert chosen(0, 0, 450, when=when) == FormChoice(int8=True, standing="within", settled_by="interval")
    assert chosen(40, 0, 450, when=when) == FormChoice(int8=False, standing="beyond", settled_by="interval")
    assert chosen(0, 0, 450, when=when, class_lost=True) == FormChoice(int8=False, standing="beyond", settled_by="class")


@pytest.mark.parametrize("when", ["measured", "float", "int8"])
def test_agreement_settles_what_labels_cannot(when: WhenUndecided) -> None:
    """Not one of 320 answers differs: 381 are too few for the interval, 299 enough for the bound of the disagreement."""
    assert chosen(0, 0, 320, when=when) == FormChoice(int8=True, standing="undecided", settled_by="agreement")
    assert chosen(0, 0, 298, when=when).settled_by != "agreement"


def test_three_of_20_lost_ship_float_and_none_lost_ships_int8() -> None:
    assert chosen(3, 0, 20) == FormChoice(int8=False, standing="undecided", settled_by="measured")
    assert chosen(0, 0, 20) == FormChoice(int8=True, standing="undecided", settled_by="measured")
    assert chosen(3, 3, 20).int8


def test_the_user_says_what_ships_where_nothing_is_shown() -> None:
    assert chosen(3, 0, 20, when="int8") == FormChoice(int8=True, standing="undecided", settled_by="asked")
    assert chosen(0, 0, 20, when="float") == FormChoice(int8=False, standing="undecided", settled_by="asked")


def test_a_doubt_does_not_ship_a_float_model_that_is_larger_than_allowed() -> None:
    assert chosen(3, 0, 20, float_fits=False) == FormChoice(int8=True, standing="undecided", settled_by="limit")
    assert chosen(0, 0, 20, float_fits=False).settled_by == "measured"
    assert chosen(3, 0, 20, float_fits=False, when="float") == FormChoice(int8=False, standing="undecided", settled_by="asked")
    assert not chosen(40, 0, 450, float_fits=False).int8 and not chosen(0, 0, 450, float_fits=False, class_lost=True).int8


def test_frames_of_a_burst_do_not_settle_it() -> None:
    right, groups = np.ones(500, dtype=bool), np.repeat(np.arange(50), 10)
    found = choose(paired_drop(right, right, groups=groups), 0.01, differ=~right, groups=groups, when_undecided="float")
    assert found == FormChoice(int8=False, standing="undecided", settled_by="asked")


@pytest.mark.parametrize(("differing", "images"), [(0, 1), (0, 299), (3, 500), (10, 20), (40, 9000)])
def test_the_bound_of_a_share_is_the_exact_one(differing: int, images: int) -> None:
    assert most_of(differing / images, images) == pytest.approx(stats.beta.ppf(0.95, differing + 1, images - differing), abs=1e-9)


def test_all_of_them_bound_nothing_and_a_fraction_of_an_image_is_none() -> None:
    assert most_of(1.0, 7) == 1
    assert most_of(0.0, 299.9) == most_of(0.0, 299)
