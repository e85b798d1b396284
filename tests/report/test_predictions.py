"""What is kept of every image: nothing is lost in the CSV, and what is shown is what a person should look at first."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from edgetl.core.errors import InputError
from edgetl.report.predictions import Gallery

from .conftest import Trial, trial


@pytest.fixture(scope="module")
def simulated() -> Trial:
    return trial(count=300, student_errors=0.1)


def softmax_top(logits: np.ndarray) -> float:
    return float(np.exp(logits.max()) / np.exp(logits).sum())


def test_the_csv_gives_back_every_answer_of_every_model(simulated: Trial) -> None:
    images = simulated.images()
    rows = list(csv.DictReader(io.StringIO(images.csv_text())))
    assert [row["sha256"] for row in rows] == list(images.hashes)
    assert [row["file"] for row in rows] == list(images.files or ())
    assert [row["class"] for row in rows] == [simulated.classes[label] for label in simulated.labels]
    for name, answers in simulated.answers.items():
        assert [row[f"{name}_answer"] for row in rows] == [simulated.classes[answer] for answer in answers]
        expected = [softmax_top(logits.astype(np.float64)) for logits in simulated.outputs()[name]]
        np.testing.assert_allclose([float(row[f"{name}_confidence"]) for row in rows], expected, atol=2e-6)


def test_mistakes_are_wrong_answers_of_what_ships_and_the_surest_comes_first(simulated: Trial) -> None:
    wrong = np.flatnonzero(simulated.answers["onnx_int8"] != simulated.labels)
    gallery = simulated.images().gallery(7)
    assert gallery.mistakes_in_all == len(wrong) > 7 == len(gallery.mistakes)
    surest = sorted((softmax_top(simulated.outputs()["onnx_int8"][row]) for row in wrong), reverse=True)
    shown = [mistake.answers["onnx_int8"] for mistake in gallery.mistakes]
    np.testing.assert_allclose([answer.confidence for answer in shown], surest[:7], atol=2e-6)
    assert not any(answer.right for answer in shown)
    assert all(mistake.answers["onnx_int8"].name != mistake.truth for mistake in gallery.mistakes)


def test_differences_begin_with_what_int8_lost(simulated: Trial) -> None:
    before, after, labels = simulated.answers["onnx_float"], simulated.answers["onnx_int8"], simulated.labels
    gallery = simulated.images().gallery(50)
    assert gallery.pair == ("onnx_float", "onnx_int8") and gallery.differences_in_all == int((before != after).sum()) > 0
    kinds = [(d.answers["onnx_float"].right, d.answers["onnx_int8"].right) for d in gallery.differences]
    lost, gained = int(((before == labels) & (after != labels)).sum()), int(((before != labels) & (after == labels)).sum())
    assert kinds[:lost] == [(True, False)] * lost and kinds[lost : lost + gained] == [(False, True)] * gained
    assert set(kinds[lost + gained :]) <= {(False, False)}


def test_without_a_float_graph_the_reference_is_compared_with(simulated: Trial) -> None:
    few = replace(simulated, answers={name: simulated.answers[name] for name in ("teacher", "onnx_int8")})
    assert few.images().gallery(3).pair == ("teacher", "onnx_int8")
    alone = replace(simulated, answers={"onnx_int8": simulated.answers["onnx_int8"]})
    assert alone.images().gallery(3).pair is None and alone.images().gallery(3).differences == ()


def test_classes_of_one_name_are_still_two(simulated: Trial) -> None:
    """ImageNet has two cranes: which of them is meant is told by the number, not by the name."""
    twins = replace(simulated, classes=("crane",) * 10)
    assert twins.images().gallery(50).mistakes_in_all == simulated.images().gallery(50).mistakes_in_all > 0


def test_rows_of_an_npz_have_no_files(simulated: Trial) -> None:
    images = simulated.images(files=False)
    assert {row["file"] for row in csv.DictReader(io.StringIO(images.csv_text()))} == {""}
    assert all(shown.file is None for shown in images.gallery(5).mistakes)


def test_file_names_that_are_no_text_are_kept_as_escapes(simulated: Trial) -> None:
    images = replace(simulated.images(), files=["\udcff鳥.jpg", *(simulated.images().files or ())[1:]])
    text = images.csv_text()
    text.encode("utf-8")
    assert "\\udcff鳥.jpg" in text
    images.gallery(300).to_text().encode("utf-8")


def test_a_gallery_reads_back_and_nothing_else_does(simulated: Trial) -> None:
    gallery = simulated.images().gallery(5)
    assert Gallery.from_text(gallery.to_text()) == gallery
    with pytest.raises(InputError, match="expected the example images of a report"):
        Gallery.from_text('{"judged": "many"}')
