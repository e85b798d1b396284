"""What a sceptical reader would object to: no sentence of the page says more than the numbers beside it show."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from edgetl.metrics.choice import FormChoice
from edgetl.metrics.parity import paired_drop
from edgetl.report.html import render
from edgetl.report.plain import facts, meaning, summary
from edgetl.report.questions import UNSURE, overruns, questions
from edgetl.report.ruling import choice_words
from edgetl.report.schema import Report

from .conftest import Trial, trial


def with_right(right: int, images: int) -> Report:
    """Two classes of so many images; what ships, as all others, is right on `right` images."""
    labels = np.arange(images) % 2
    answers = np.where(np.arange(images) < right, labels, 1 - labels)
    return Trial(
        classes=("a", "b"), labels=labels, answers=dict.fromkeys(("teacher", "student", "onnx_float", "onnx_int8"), answers)
    ).report()


def test_a_certified_copy_is_told_by_its_bound_and_its_confidence() -> None:
    report = trial(student_errors=0).report()
    assert report.verdict == "certified" and report.parity.end_to_end
    high = report.parity.end_to_end.drop_ci95[1]
    words = summary(report)[0]
    assert "at 95% confidence" in words and "about as well" not in words
    assert high <= 0 or f"at most {100 * high:.2f} points" in words


def test_a_gain_on_the_first_screen_stands_beside_its_interval() -> None:
    report = trial(student_errors=0).report()
    parity = report.parity.end_to_end
    assert parity
    gain = replace(parity, drop=-0.0022, drop_ci95=(-0.0141, 0.0084))
    page = render(replace(report, parity=replace(report.parity, end_to_end=gain)).to_json(), {})
    tiles = re.sub(r"<[^>]+>|\s+", " ", page[page.index('class="tiles"') :][:2000])
    assert "points gained against the teacher (95% interval -0.84 to 1.41)" in tiles


def test_a_score_whose_interval_holds_the_largest_class_is_not_told_as_better_than_it() -> None:
    """55% of 40 images, half of which are of one class: by chance as likely; 55% of 4,000 is not; 45% is worse."""
    good = [" ".join(questions(with_right(right, images))[1].lines) for right, images in ((22, 40), (2200, 4000), (18, 40))]
    assert "would be right on 50.0%: its interval does not exclude that." in good[0]
    assert "would be right on 50.0%." in good[1]
    assert "would be right on 50.0%: it is no better than that." in good[2]


def test_the_interval_of_a_share_is_not_that_of_a_hundred_images() -> None:
    words = " ".join(facts(with_right(390, 400)))
    assert re.search(r"right on average \(95% interval of that share: 95\.\d to 98\.\d%\)", words)
    assert "They hold for other images only if these show the same things and are taken in the same way" in words


def test_a_time_that_moved_is_marked_where_it_is_told() -> None:
    report = trial(student_errors=0).report()
    assert UNSURE not in questions(report)[2].lines
    ships = report.models.onnx_int8
    assert ships and ships.latency_ms
    moved = replace(report.models, onnx_int8=replace(ships, latency_ms=replace(ships.latency_ms, moved=True)))
    assert UNSURE in questions(replace(report, models=moved))[2].lines


def test_a_loss_that_is_shown_is_not_told_as_certain() -> None:
    report = trial(student_errors=0).report()
    assert report.parity.int8
    lost = replace(report.parity.int8, drop=0.04, drop_ci95=(0.02, 0.07), verdict="failed")
    words = " ".join(overruns(replace(report, parity=replace(report.parity, int8=lost))))
    assert "Chance hardly explains that (95% interval 2.00 to 7.00)" in words


def test_what_keeps_a_verdict_back_is_what_is_said() -> None:
    """A drop that is proven is not called unproven, and one within the budget not over it, because something else is open."""
    report = trial(student_errors=0).report()
    assert report.parity.end_to_end
    proven = replace(report.parity, end_to_end=replace(report.parity.end_to_end, verdict="certified"))
    within = replace(report.parity, end_to_end=replace(report.parity.end_to_end, verdict="passed"))
    doubt = replace(report, parity=proven, verdict="passed", faithful="passed", reasons=("the class “a” looks lost",))
    assert "within the budget, at 95% confidence, but something else is open" in summary(doubt)[0]
    low = replace(report, parity=within, verdict="undecided", faithful="passed", reasons=("the shipped model is right on 70%",))
    assert "over the budget" not in summary(low)[0] and "too few images to prove it, and more is open" in summary(low)[0]
    both = " ".join(meaning(replace(doubt, parity=within)))
    assert "looks lost" in both and "Nor do" in both and "prove the budget" in both


def test_chance_is_not_excluded_in_words() -> None:
    """Clopper and Pearson's bound of a disagreement holds in 95 of 100 cases, a standard error in 84."""
    drop = paired_drop(np.ones(400, dtype=bool), np.ones(400, dtype=bool))
    found = FormChoice(int8=True, standing="undecided", settled_by="agreement")
    assert choice_words(found, drop, 0.01, "int8").endswith("the drop is within 1 point, at 95% confidence")


def test_images_that_selected_the_layers_in_float_are_said_to_have_done_so() -> None:
    right = np.ones(400, dtype=bool)
    for by in ("agreement", "interval", "measured", "limit", "asked"):
        found = FormChoice(int8=True, standing="within", settled_by=by)  # type: ignore[arg-type]
        told, held_out = (choice_words(found, paired_drop(right, right), 0.01, "mixed", held_out=one) for one in (False, True))
        assert "also selected the layers in float" in told and "selected" not in held_out
