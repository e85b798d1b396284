"""What people read: the words say what the numbers say, the page needs nothing from outside and obeys nobody's class names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from edgetl.bundle.decision import DecisionRule
from edgetl.report import charts, figures
from edgetl.report.advice import helps
from edgetl.report.confidence import confidence_report, confidence_words
from edgetl.report.html import render
from edgetl.report.judged import Seen
from edgetl.report.kernels import KernelReport, KernelsReport
from edgetl.report.schema import ImageCounts, Models, Report, VerdictWord, Wish, read_report
from edgetl.report.tables import MOST_CELLS, WORST
from edgetl.report.text import chart_models, comparison, verdict_words, where_time_goes, wish_words
from edgetl.report.units import percent
from edgetl.tasks.classification import Classification

from .conftest import Trial, log, trial

HOSTILE = (
    "<script>alert(1)</script>",
    "a & b --> c",
    "$\\frac{1}{0}$",
    '"><img src=x onerror=alert(2)>',
    "]]>",
    "鳥",
    "عصفور",
    "\\n",
    "{{ 7*7 }}",
)


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text between tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != [("style", {})]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def alone(report: Report) -> Report:
    """What a standalone `verify` of an int8 file against a float file gives."""
    assert report.parity.int8
    return replace(
        report,
        bundle_sha256=None,
        models=Models(onnx_float=report.models.onnx_float, onnx_int8=report.models.onnx_int8),
        parity=replace(report.parity, export=None, end_to_end=None),
        verdict=report.parity.int8.verdict,
        data=replace(report.data, images=ImageCounts(test=report.data.images.test)),
    )


def small(report: Report) -> Report:
    """The same with two models, which are drawn sooner than four."""
    return replace(report, models=replace(report.models, student=None, onnx_float=None))


def without_matrices(report: Report) -> Report:
    """The same with one model and no confusion matrix: for tests of words."""
    assert report.models.onnx_int8
    return replace(report, models=Models(onnx_int8=replace(report.models.onnx_int8, confusion=None)))


CURVES = {"finetune": log(12), "distill": log(40)}


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report.to_json(), CURVES)


def test_the_table_holds_the_numbers_of_the_report(report: Report) -> None:
    header, *rows = comparison(report.to_json())
    assert [row[0] for row in rows] == ["teacher", "student", "float ONNX", "int8 ONNX (ships)"]
    assert report.models.onnx_int8 and report.models.teacher
    cells = dict(zip(header, rows[-1], strict=True))
    assert cells["top1"] == f"{100 * report.models.onnx_int8.score:.1f}%"
    assert (cells["size"], cells["smaller"]) == ("84.2 kB", f"{1_093_400 / 84_210:.1f}x")
    assert (cells["latency p50"], cells["faster"]) == ("0.11 ms", f"{0.68 / 0.11:.1f}x")


def test_words_for_each_verdict() -> None:
    certified = verdict_words(trial().report().to_json())
    assert re.fullmatch(
        r"Certified: the int8 model loses 1\.78 points against the teacher on 450 test images\. .* within the budget of 5 points\.",
        certified,
    )
    failed = verdict_words(trial(max_drop=0.001).report().to_json())
    assert failed.startswith("Failed: the int8 model loses") and "over the budget of 0.1 points" in failed and "Do not ship" in failed


def test_passed_says_how_many_images_would_prove_it() -> None:
    report = trial(max_drop=0.02).report()
    assert report.verdict == "passed" and report.parity.end_to_end and report.parity.end_to_end.images_needed
    words = verdict_words(report.to_json())
    (said,) = re.findall(r"About ([\d,]+) test images", words)
    needed = report.parity.end_to_end.images_needed
    assert needed <= int(said.replace(",", "")) <= 1.1 * needed + 1
    assert said in Page(render(without_matrices(report).to_json(), {})).text


def test_a_failed_export_is_what_the_words_are_about(report: Report) -> None:
    assert report.parity.export
    broken = replace(
        report, verdict="failed", parity=replace(report.parity, export=replace(report.parity.export, passed=False, max_abs_diff=3.5))
    )
    words = verdict_words(broken.to_json())
    assert "differ from those of the checkpoint by up to 3.5" in words and "points" not in words
    assert "Report this as a bug" in Page(render(without_matrices(broken).to_json(), {})).text


def test_a_standalone_report_speaks_of_what_it_was_given(report: Report) -> None:
    data = alone(report).to_json()
    text = Page(render(data, {})).text
    assert "against the float model" in verdict_words(data)
    assert "teacher" not in text and "student" not in text and "How the training went" not in text and "Bundle:" not in text


def test_a_model_that_was_brought_along_to_compare_with_is_no_teacher(report: Report) -> None:
    brought = replace(alone(report), models=Models(teacher=report.models.teacher, onnx_int8=report.models.onnx_int8), parity=report.parity)
    text = Page(render(brought.to_json(), {})).text
    assert "against the reference on 450 test images" in verdict_words(brought.to_json())
    assert "teacher" not in text and "reference" in text


def test_the_verdict_comes_first_and_in_plain_words(page: str, report: Report) -> None:
    ships, teacher = report.models.onnx_int8, report.models.teacher
    assert ships and teacher
    start = Page(page[: page.index('class="tiles"')]).text
    assert "A faithful copy" in start and "Certified" in start and "Ready to ship" not in start
    assert "Whether that is good enough depends on your application" in start
    places = [start.index(question) for question in ("Is it a faithful copy?", "Is it good?", "Is it small and fast?")]
    assert places == sorted(places)
    assert "The constant answer “" in start and f"{1_093_400 / 84_210:.1f}x smaller" in start
    assert "classified the same 450 test images." in start and "was not checked" not in start
    right = (round(450 * ships.score), round(450 * teacher.score))
    assert f"It gets {right[0]} of 450 right" in start and f"the teacher {right[1]} " in start
    assert "loses at most 3.47 points against the teacher (at 95% confidence). The budget is 5 points." in start


@pytest.mark.parametrize(
    ("seen", "why", "words"),
    [
        ("checked", None, "None of them was used to train, select or calibrate a model, as far as the records show."),
        ("checked", "only names are known", "as far as the records show. Note: only names are known."),
        ("not checked", "there is no record", "It was not checked whether a model was trained on them: there is no record."),
        (
            "waived",
            "w knew them",
            "A model may have been trained on them, which was allowed: w knew them. The scores prove nothing about new images.",
        ),
    ],
)
def test_the_page_says_of_seen_images_what_the_report_says_and_no_more(report: Report, seen: Seen, why: str | None, words: str) -> None:
    told = replace(report, data=replace(report.data, seen=seen, seen_reason=why))
    assert read_report(told.to_json()) == told
    text = Page(render(told.to_json(), {})).text
    assert words in text and "no model had seen" not in text
    marks = {"checked": "None of them was used", "not checked": "It was not checked", "waived": "may have been trained on them"}
    assert [state for state, mark in marks.items() if mark in text] == [seen]


@pytest.mark.parametrize(
    ("max_drop", "headline"), [(0.05, "A faithful copy"), (0.02, "Not proven yet"), (0.015, "Undecided"), (0.001, "Do not ship this")]
)
def test_each_verdict_has_its_headline(max_drop: float, headline: str) -> None:
    assert headline in Page(render(without_matrices(trial(max_drop=max_drop).report()).to_json(), {})).text


def test_broken_golden_vectors_are_what_the_words_are_about(report: Report) -> None:
    """The drop is within its budget: to blame it would be wrong."""
    broken = replace(report, verdict="failed", notes=("golden vectors: a.json: differs",))
    words = verdict_words(broken.to_json())
    assert "golden vectors" in words and "budget" not in words
    text = Page(render(without_matrices(broken).to_json(), {})).text
    assert "Do not ship this" in text and "gives other outputs here than where it was made" in text and "a.json: differs" in text


def test_what_was_found_on_the_way_in_is_told(report: Report) -> None:
    counted = {"exact_copies": 3, "near_duplicates": 0, "near_duplicates_across_parts": 2}
    text = Page(render(without_matrices(replace(report, data=replace(report.data, intake=counted))).to_json(), {})).text
    assert "Found in the data: 3 exact copies, left out; 2 of these with a near-duplicate in another part" in text
    assert "Note that 2 images look nearly the same as an image in another part of the data" in text
    assert "Found in the data" not in Page(render(without_matrices(report).to_json(), {})).text


def test_where_float_ships_the_page_says_why(report: Report) -> None:
    text = Page(render(trial(shipped="float").report().to_json(), {})).text
    assert "The float model ships, not the int8 model" in text
    said = replace(trial(shipped="float").report(), shipped_because="float ships, undecided: int8 loses 3.00 points")
    assert "Float ships, undecided: int8 loses 3.00 points." in Page(render(said.to_json(), {})).text


def wished(report: Report, min_score: float, standing: Literal["met", "undecided", "missed"], seen: Seen = "checked") -> str:
    ships = report.models.onnx_int8
    assert ships
    wish = Wish(min_score=min_score, score=ships.score, score_ci95=ships.score_ci95, standing=standing)
    words = wish_words(wish)
    worse: VerdictWord = "failed" if standing == "missed" else "passed"
    report = replace(report, data=replace(report.data, seen=seen, seen_reason=None if seen == "checked" else "no record lies beside it"))
    found = report if words is None else replace(report, verdict=worse, reasons=(words,))
    return Page(render(replace(without_matrices(found), wish=wish, faithful="certified").to_json(), {})).text


def test_ready_to_ship_is_said_only_of_a_wish_that_is_shown_to_be_met(report: Report) -> None:
    met = wished(report, 0.9, "met")
    assert "Ready to ship" in met and "Yes: " in met and "The whole interval is above the required 90.0%" in met
    unchecked = wished(report, 0.9, "met", "not checked")
    assert "Ready to ship" not in unchecked and "Yes, if no model has seen these images: " in unchecked
    assert "unless a model was trained on these images, which was not checked" in unchecked
    for standing, answer in (("missed", "No: "), ("undecided", "Undecided")):
        page = wished(report, 0.999 if standing == "missed" else 0.97, standing)  # type: ignore[arg-type]
        assert answer in page and "Ready to ship" not in page
        assert "loses at most 3.47 points against" in page  # a copy it is all the same


def test_a_comparison_over_its_budget_is_on_the_first_screen_with_what_it_means(report: Report) -> None:
    int8 = report.parity.int8
    assert int8
    over = replace(int8, images=153, drop=2 / 153, drop_ci95=(-0.015, 0.05), verdict="undecided", standing="undecided", lost=4, gained=2)
    page = render(replace(report, parity=replace(report.parity, int8=over)).to_json(), {})
    start = Page(page[: page.index('class="tiles"')]).text
    assert "int8 loses 2 answers of 153 (lost 4, won 2) against float: 1.31 points, with a budget of 1 point." in start
    assert "Undecided: with so few images it may be chance (95% interval -1.50 to 5.00)." in start
    assert "The verdict compares with the teacher, not with the float model." in start
    assert "Over its budget" not in Page(render(without_matrices(trial(student_errors=0).report()).to_json(), {})).text


def test_of_few_images_there_are_counts_and_what_is_never_answered_is_not_wrong() -> None:
    """Class 3 has 8 images, all taken for class 0; class 2 has 10, of which 9 are found."""
    labels = np.repeat(np.arange(4), [60, 60, 10, 8])
    answers = labels.copy()
    answers[labels == 3] = 0
    answers[np.flatnonzero(labels == 2)[0]] = 1
    simulated = Trial(classes=("a", "b", "c", "d"), labels=labels, answers=dict.fromkeys(("teacher", "student", "onnx_float"), labels))
    simulated.answers["onnx_int8"] = answers
    text = Page(render(simulated.report().to_json(), {})).text
    assert "Its weakest class is “d”: it finds 0 of its 8 test images, and never answers it." in text
    assert "never answered" in text and "9 of 10" in text and "9 of 9" in text and "0 of 8" in text
    assert "98.4" in text  # b: 60 of the 61 times it is answered


def test_what_would_help_most_comes_first_and_with_its_reason() -> None:
    """The teacher is wrong on 30 images, the student loses 12 more, int8 3."""
    labels = np.zeros(300, dtype=np.int64)
    labels[150:] = 1
    teacher, student, int8 = labels.copy(), labels.copy(), labels.copy()
    teacher[:30] = 1
    student[:42] = 1
    int8[:45] = 1
    answers = {"teacher": teacher, "student": student, "onnx_float": student, "onnx_int8": int8}
    said = helps(Trial(classes=("a", "b"), labels=labels, answers=answers, max_drop=0.2).report())
    assert len(said) == 3 and "Add photos of “a”, the weakest class: 70.0% of its 150 test images are found" in said[0]
    assert "The teacher itself is wrong on 30 test images" in said[1] and "The student loses 12 right answers" in said[2]


def two_classes(wrong_a: int, wrong_b: int) -> Report:
    """150 images of a and of b; so many of each are wrong, the same for every model but the teacher, which knows all."""
    labels = np.repeat([0, 1], 150)
    said = labels.copy()
    said[:wrong_a], said[150 : 150 + wrong_b] = 1, 0
    answers = {"teacher": labels, "student": said, "onnx_float": said, "onnx_int8": said}
    return Trial(classes=("a", "b"), labels=labels, answers=answers, max_drop=0.2).report()


def test_a_class_is_no_worse_than_another_where_chance_explains_it() -> None:
    for wrong, shown in (((14, 11), False), ((45, 11), True)):
        report = two_classes(*wrong)
        text = Page(render(report.to_json(), {})).text
        assert any("Add photos of “a”" in said for said in helps(report)) == shown
        assert ("That it is the weakest may be chance." in text) != shown
        assert ("On other images the weakest class may be another." in text) == shown


def test_a_loss_that_may_be_chance_is_said_to_be_and_one_that_is_shown_is_not() -> None:
    def lost(count: int) -> str:
        return next(said for said in helps(two_classes(count, 0)) if said.startswith("The student loses"))

    assert (
        lost(1)
        == "The student loses 1 right answer against the teacher, which may be chance. Try a larger student (--student), or more epochs."
    )
    assert "chance" not in lost(30)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.978, "97.8%"), (1, "100.0%"), (0, "0.0%"), (0.9996, "99.96%"), (0.99999, "99.999%"), (0.0004, "0.04%"), (0.9994, "99.9%")],
)
def test_nearly_all_is_not_100_percent_and_hardly_any_not_0(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(("right", "missed"), [(95, False), (88, False), (60, True)])
def test_a_threshold_that_gives_less_than_was_wanted_is_told(right: int, missed: bool) -> None:
    """100 answers to two classes, all above the threshold."""
    outputs, labels = np.tile([3.0, 0.0], (100, 1)).astype(np.float32), (np.arange(100) >= right).astype(np.int64)
    rule = DecisionRule(
        temperature=1.0,
        ece_before=0.1,
        ece_after=0.1,
        threshold=0.9,
        wanted_precision=0.9,
        precision=0.95,
        coverage=1.0,
        reach="shown",
        images=80,
    )
    words = " ".join(confidence_words(confidence_report(rule, Classification(classes=("a", "b")), outputs, labels)))
    assert "was chosen on val images so that 90% of the answers given there are right." in words and f"{right}.0% of these answers" in words
    assert ("That is shown to be less than 90%." in words) == missed


def test_a_latency_that_moved_makes_no_exact_ratio(report: Report) -> None:
    def page(moved: bool) -> str:
        models = {
            name: replace(model, latency_ms=replace(model.latency_ms, moved=moved))
            for name in ("teacher", "onnx_float", "onnx_int8")
            if (model := getattr(report.models, name)) and model.latency_ms
        }
        return Page(render(replace(without_matrices(report), models=replace(report.models, **models)).to_json(), {})).text

    assert page(True).count("about 6.2x faster") == page(False).count("6.2x faster") > 0 and "about 6.2x" not in page(False)


def test_the_page_says_what_happened_and_what_to_do(page: str, report: Report) -> None:
    text = Page(page).text
    for words in (
        "Certified",
        "What to know",
        "What to do",
        "Tango 1998",
        "golden vectors",
        "SQNR 31.4 dB",
        "How the training went",
        "finetune",
    ):
        assert words in text
    assert str(report.bundle_sha256) in text and "Its weakest class is “3”" in text


def test_same_report_same_bytes(page: str, report: Report) -> None:
    first, again = (render(small(report).to_json(), {"distill": log(5)}) for _ in range(2))
    assert first == again
    assert not re.search(r"\b20\d\d-\d\d-\d\d", page)


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_ids_that_repeat_name_the_same_thing(page: str) -> None:
    found: dict[str, str] = {}
    for name, body in re.findall(r'<(?:clipPath|path) id="([^"]+)"(.*?)(?:/>|</clipPath>)', page, flags=re.DOTALL):
        assert found.setdefault(name, body) == body


def obeys_nothing(page: str) -> Page:
    found = Page(page)
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    return found


def test_class_names_are_text_and_nothing_else() -> None:
    page = render(small(trial(classes=HOSTILE, count=200).report()).to_json(), {})
    found = obeys_nothing(page)
    assert all(name in found.text for name in HOSTILE)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(drawing)


def test_other_names_from_outside_are_text_and_nothing_else() -> None:
    report = small(trial(classes="ab", count=60).report())
    assert report.models.teacher
    named = replace(
        report,
        data=replace(report.data, name="data" + HOSTILE[0]),
        models=replace(report.models, teacher=replace(report.models.teacher, arch="arch" + HOSTILE[3])),
        notes=("note" + HOSTILE[0],),
    )
    found = obeys_nothing(render(named.to_json(), {"stage" + HOSTILE[0]: log(3)}))
    assert all(word in found.text for word in ("data<script>", 'arch"><img', "note<script>", "stage<script>"))


@pytest.mark.parametrize("count", [2, MOST_CELLS, MOST_CELLS + 1, 100])
def test_confusions_are_readable_for_few_classes_and_for_many(count: int) -> None:
    """Few: every pair as text. Many: a drawing without names, and the largest confusions with theirs."""
    report = small(trial(classes=[f"class {i}" for i in range(count)], count=20 * count).report())
    page = render(report.to_json(), {})
    tables = re.findall(r'<table class="matrix.*?</table>', page, flags=re.DOTALL)
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert (len(tables), len(drawings)) == ((2, 0) if count <= MOST_CELLS else (0, 2))
    assert report.models.onnx_int8 and report.models.onnx_int8.confusion
    if tables:
        written = [int(number) for number in re.findall(r'<td class="(?:right|wrong)[^>]*>(\d+)</td>', tables[0])]
        assert written == [cell for row in report.models.onnx_int8.confusion for cell in row if cell]
    assert all("class 1" not in drawing and len(drawing) < 100_000 for drawing in drawings)
    assert len(page) < 400_000


def test_a_thousand_classes_are_drawn_too() -> None:
    drawing = figures.svg(figures.confusion_figure(np.eye(1000, dtype=np.int64) * 5))
    labels = ElementTree.fromstring(drawing).findall(".//{http://www.w3.org/2000/svg}text")
    assert len(labels) < 80 and len(drawing) < 200_000


def test_the_weakest_classes_come_first_and_those_without_images_last() -> None:
    simulated = trial(classes=[f"c{i}" for i in range(40)], count=30)  # some classes have no image
    report = small(simulated.report())
    page = render(report.to_json(), {})
    rows = re.findall(r'<tr><th scope="row"><bdi>(c\d+)</bdi></th><td>(\d+)</td><td class="edge">', page)
    assert report.models.onnx_int8 and report.models.onnx_int8.per_class
    f1 = {row.name: row.f1 for row in report.models.onnx_int8.per_class}
    assert len(rows) == 40 and f"Show all {len(rows)} classes" in page and WORST < 40
    seen = [(support == "0", f1[name]) for name, support in rows]
    assert seen == sorted(seen) and seen[-1][0] and not seen[0][0]


def test_the_table_says_what_a_class_is_most_often_taken_for() -> None:
    simulated = trial(classes=("ant", "bee", "wasp"), count=300, student_errors=0.2)
    page = render(small(simulated.report()).to_json(), {})
    answers, labels = simulated.answers["onnx_int8"], simulated.labels
    for index, name in enumerate(simulated.classes):
        wrong = np.bincount(answers[labels == index], minlength=3)
        wrong[index] = 0
        (cell,) = re.findall(rf'<bdi>{name}</bdi></th><td>\d+</td>.*?<td class="name">(.*?)</td>', page)
        assert re.sub("<.*?>", "", cell) == f"{simulated.classes[int(wrong.argmax())]} ({wrong.max()})"


def test_figures_leave_no_state_and_no_date(report: Report) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figure, same = figures.curves_figure(log(5)), figures.curves_figure(log(5))
    assert figure and same
    first = figures.svg(figure)
    assert first == figures.svg(same) and dict(mpl.rcParams) == before
    assert "metadata" not in first and figures.INK not in first and figures.FAINT not in first
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "val score, %"] and figure.axes[1].get_xlabel() == "epoch"


def drawn(report: Report) -> list[charts.Chart]:
    models, int8 = chart_models(report), report.parity.int8
    latency = charts.latency_chart(models)
    assert latency and int8
    return [charts.score_chart(models, "top1", 100), charts.size_chart(models), latency, charts.drop_chart([("int8", int8)])]


def test_every_axis_of_numbers_carries_its_unit(report: Report, page: str) -> None:
    assert [chart.unit for chart in drawn(report)] == ["%", "MB", "ms", "percentage points"]
    assert [unit for unit in re.findall(r'<p class="unit">(.*?)</p>', page)] == ["MB", "ms", "%", "percentage points"]


def test_places_in_charts_are_those_of_the_numbers(report: Report) -> None:
    """A straight line through the ticks gives every place back."""
    score, size, latency, drop = drawn(report)
    for chart in (score, size, latency, drop):
        places, numbers = (np.array(column, dtype=float) for column in zip(*chart.ticks, strict=True))
        assert 3 <= len(places) <= 7 and places.min() >= 0 and places.max() <= 100
        slope, start = np.polyfit(numbers, places, 1)
        models = [model for _, _, model in chart_models(report)]
        expected = {
            id(score): [100 * model.score for model in models],
            id(size): [model.size_bytes / 1e6 for model in models],
            id(latency): [model.latency_ms.p50 for model in models if model.latency_ms],
            id(drop): [100 * report.parity.int8.drop] if report.parity.int8 else [],
        }[id(chart)]
        found = [lane.bar if lane.dot is None else lane.dot for lane in chart.lanes]
        np.testing.assert_allclose(found, start + slope * np.array(expected), atol=0.2)


def test_charts_of_equal_numbers_still_have_an_axis(report: Report) -> None:
    same = [(name, label, replace(model, score_ci95=(1.0, 1.0), score=1.0)) for name, label, model in chart_models(report)]
    chart = charts.score_chart(same, "top1", 100)
    assert chart.ticks and all(0 <= lane.dot <= 100 for lane in chart.lanes if lane.dot is not None)


def test_drawing_writes_nothing_at_home_and_imports_no_torch_or_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edgetl.report import figures\n"
        "import numpy\n"
        "figures.svg(figures.confusion_figure(numpy.eye(2, dtype=int)))\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules), 'imported'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_stayed_in_float_is_named(report: Report) -> None:
    layers = tuple(KernelReport(name=f"conv{i}", kind="FusedConv", share=share) for i, share in enumerate((0.2, 0.1, 0.03, 0.02)))
    layers = (layers[0], replace(layers[1], name="layer1.0.conv1 (Conv)"), *layers[2:])
    islands = (KernelReport(name="x_QuantizeLinear", kind="QuantizeLinear", share=0.04),)
    kernels = KernelsReport(int8=0.6, conversion=0.05, floating=0.35, float_layers=layers, islands=islands)
    found = replace(report, kernels=kernels)
    assert read_report(found.to_json()) == found
    words = "The int8 model spends 60.0% of its time in int8 kernels and 5.0% in conversions. "
    words += "These layers run in float: conv0 (FusedConv), 20.0%; "
    assert where_time_goes(kernels) == f"{words}layer1.0.conv1 (Conv), 10.0%; conv2 (FusedConv), 3.0% and 1 more."
    page = Page(render(found.to_json(), {}))
    assert words in page.text and "x_QuantizeLinear" in page.text
    assert "What runs in float" in page.text


def test_a_graph_all_in_int8_says_so(report: Report) -> None:
    kernels = KernelsReport(int8=0.97, conversion=0.03, floating=0.0, float_layers=(), islands=())
    assert where_time_goes(kernels).endswith("3.0% in conversions; no Conv, Gemm or MatMul runs in float.")
    assert "What runs in float" not in Page(render(replace(report, kernels=kernels).to_json(), {})).text


def test_layers_in_float_make_it_a_mixed_model_in_every_word(report: Report) -> None:
    mixed = replace(report, shipped="mixed")
    labels = [row[0] for row in comparison(mixed.to_json())]
    assert "mixed ONNX (ships)" in labels and not any("int8 ONNX" in label for label in labels)
    assert "mixed model" in verdict_words(mixed.to_json())
    page = Page(render(mixed.to_json(), {})).text
    assert "student, mixed" in page and "student, int8" not in page


def test_the_page_says_on_which_cpu_and_how_busy_it_was_and_the_json_keeps_it(report: Report) -> None:
    assert report.models.teacher is not None and report.models.teacher.latency_ms is not None
    timed = replace(report.models.teacher.latency_ms, cpu="A CPU", spread=0.3, loop_ms=(0.5, 0.6), busy=0.25, moved=True)
    told = replace(report, models=replace(report.models, teacher=replace(report.models.teacher, latency_ms=timed)))
    assert read_report(told.to_json()) == told
    assert "Latency on A CPU; other programs used 25.0% of it." in Page(render(told.to_json(), {})).text
    assert "other programs used" not in Page(render(report.to_json(), {})).text
