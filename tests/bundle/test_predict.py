"""`predict` answers for every readable picture, in a stable order, and says why for the others."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgetl.bundle.answers import columns, to_json, to_lines
from edgetl.bundle.predict import BATCH_IMAGES, Prediction, find_pictures, predict
from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.runtime.onnx_metadata import ModelInfo, describe, save

from ..conftest import write_csv
from .conftest import CLASSES, PREPROCESS, float_graph, picture


@pytest.fixture(scope="module")
def model(info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "model.onnx"
    save(describe(float_graph(), info), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, seed in (("b/2.png", 2), ("b/10.PNG", 3), ("a.png", 4), (".hidden/x.png", 5)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(seed, 30, 40))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    return folder


def test_answers_are_those_of_a_network_computed_by_hand(model: Path, photos: Path) -> None:
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in float_graph().graph.initializer}
    x = PREPROCESS((photos / "a.png").read_bytes())
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("chwij,ocij->ohw", windows, weights["kernel"]) + weights["offset"][:, None, None], 0).mean(axis=(1, 2))
    logits = weights["matrix"] @ features + weights["bias"]
    confidences = np.exp(logits) / np.exp(logits).sum()
    (found,) = predict(model, [photos / "a.png"])
    assert found.answer == CLASSES[int(logits.argmax())] and found.error is None
    np.testing.assert_allclose(dict(found.top)[found.answer], confidences.max(), rtol=1e-4)
    assert [p for _, p in found.top] == sorted((p for _, p in found.top), reverse=True) and len(found.top) == 5


def test_folders_are_walked_in_sorted_order_and_hidden_files_left_out(photos: Path) -> None:
    assert [p.relative_to(photos).as_posix() for p in find_pictures([photos])] == ["a.png", "b/10.PNG", "b/2.png", "broken.jpg"]


def test_an_unreadable_picture_is_reported_and_passed_over(model: Path, photos: Path) -> None:
    found = list(predict(model, [photos]))
    assert [p.error is None for p in found] == [True, True, True, False]
    assert "expected an image" in str(found[3].error) and found[3].answer is None and found[3].top == ()


def test_paths_that_do_not_exist_are_all_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        predict(model, [tmp_path / "x.png", tmp_path / "y"])
    assert "x.png" in str(error.value) and str(tmp_path / "y") in str(error.value)
    with pytest.raises(InputError, match="found none in"):
        predict(model, [tmp_path])


def test_a_folder_that_is_no_bundle_is_named_as_such(photos: Path, tmp_path: Path) -> None:
    expected = r"expected a bundle \(a folder with manifest\.json\) or an ONNX file at .*, found"
    with pytest.raises(InputError, match=f"{expected} a folder that is no bundle"):
        predict(photos, [photos])
    with pytest.raises(InputError, match=f"{expected} nothing there"):
        predict(tmp_path / "none.onnx", [photos])


def test_a_bare_model_needs_a_preprocess_and_numbers_its_classes(photos: Path, tmp_path: Path) -> None:
    save(float_graph(), tmp_path / "bare.onnx")
    with pytest.raises(InputError, match=r"expected .* to contain the preprocessing of its images, found none\. Give it with --preprocess"):
        predict(tmp_path / "bare.onnx", [photos])
    (found,) = predict(tmp_path / "bare.onnx", [photos / "a.png"], preprocess=imagenet(24))
    assert found.answer in {str(i) for i in range(len(CLASSES))}


def test_the_csv_holds_a_row_for_each_picture(model: Path, photos: Path, tmp_path: Path) -> None:
    given = list(predict(model, [photos]))
    write_csv(tmp_path / "answers.csv", given)
    rows = read(tmp_path / "answers.csv")
    assert list(rows[0]) == ["path", "answer", "confidence", "error", "decision"]
    assert [row["path"] for row in rows] == [p.path.as_posix() for p in given]
    assert [row["answer"] for row in rows] == [p.answer or "" for p in given]
    assert float(rows[0]["confidence"]) == pytest.approx(given[0].confidence, abs=1e-6)
    assert rows[3]["error"] and not rows[3]["confidence"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_more_answers_are_more_columns(model: Path, photos: Path, tmp_path: Path) -> None:
    given = list(predict(model, [photos], top_k=3))
    write_csv(tmp_path / "answers.csv", given, top_k=3)
    rows = read(tmp_path / "answers.csv")
    more = ("answer_2", "confidence_2", "answer_3", "confidence_3")
    assert tuple(rows[0]) == columns(3) == ("path", "answer", "confidence", *more, "error", "decision")
    for row, p in zip(rows, given, strict=True):
        assert [row["answer"], row["answer_2"], row["answer_3"]] == ([name for name, _ in p.top] or [""] * 3)
    assert {len(row) for row in rows} == {9} and None not in rows[3].values()


ODD_NAMES = (
    "tab\there.png",
    "new\nline.png",
    'quo"te, comma.png',
    "=1+1.png",
    "鳥居.png",
    "عصفور.png",
    "-.png",
    " space .png",
    "\x1b[31m.png",
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_of_any_kind_come_back_from_csv_and_json(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / name).write_bytes(picture(1, 30, 30))
    given = list(predict(model, [folder]))
    write_csv(tmp_path / "answers.csv", given)
    stream = io.StringIO()
    assert list(to_json(given, stream, 2)) == given
    paths = {str(folder / name) for name in ODD_NAMES}
    assert {row["path"] for row in read(tmp_path / "answers.csv")} == paths == {found["path"] for found in json.loads(stream.getvalue())}
    lines = io.StringIO()
    assert list(to_lines(given, lines, 1)) == given
    assert len(lines.getvalue().splitlines()) == len(ODD_NAMES) and "\x1b" not in lines.getvalue() and "鳥居" in lines.getvalue()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
def test_names_that_are_no_text_become_escapes_and_never_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff.png")).write_bytes(picture(1, 30, 30))
    given = list(predict(model, [tmp_path]))
    write_csv(tmp_path / "answers.csv", given)
    assert read(tmp_path / "answers.csv")[0]["path"].endswith("bad\\udcff.png")


def test_a_csv_is_there_whole_or_as_it_was_before(model: Path, photos: Path, tmp_path: Path) -> None:
    def torn() -> Iterator[Prediction]:
        yield from predict(model, [photos])
        raise KeyboardInterrupt

    (tmp_path / "answers.csv").write_text("yesterday's", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        write_csv(tmp_path / "answers.csv", torn())
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == "yesterday's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "photos"]


def test_an_empty_json_is_an_array_too() -> None:
    stream = io.StringIO()
    assert list(to_json([], stream, 1)) == [] and json.loads(stream.getvalue()) == []


def test_images_are_read_a_batch_ahead_and_no_further(model: Path, tmp_path: Path) -> None:
    """After the first answer the photos are taken away: what was not read yet has no answer."""
    for number in range(3 * BATCH_IMAGES):
        (tmp_path / f"{number:04d}.png").write_bytes(picture(number, 30, 30))
    found = predict(model, [tmp_path])
    first = next(found)
    for path in tmp_path.iterdir():
        path.unlink()
    rest = list(found)
    answered = [p for p in rest if p.error is None]
    assert first.error is None and len(rest) == 3 * BATCH_IMAGES - 1
    assert BATCH_IMAGES - 1 <= len(answered) <= 2 * BATCH_IMAGES - 1


def fixed(batch: int) -> onnx.ModelProto:
    graph = float_graph()
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return graph


def stubborn() -> onnx.ModelProto:
    """It says that it takes any number of images, and takes one."""
    graph = float_graph()
    shape = onnx.numpy_helper.from_array(np.array([1, len(CLASSES)]), "shape")
    graph.graph.initializer.append(shape)
    graph.graph.node[-1].output[0] = "flat_logits"
    graph.graph.node.append(onnx.helper.make_node("Reshape", ["flat_logits", "shape"], ["logits"]))
    return graph


@pytest.mark.parametrize("graph", [fixed(1), fixed(4), stubborn()], ids=["one", "four", "stubborn"])
def test_graphs_that_take_no_batch_answer_the_same(
    graph: onnx.ModelProto, model: Path, photos: Path, info: ModelInfo, tmp_path: Path
) -> None:
    save(describe(graph, info), tmp_path / "other.onnx")
    assert [p.error is None for p in predict(tmp_path / "other.onnx", [photos])] == [True, True, True, False]
    for found, expected in zip(predict(tmp_path / "other.onnx", [photos]), predict(model, [photos]), strict=True):
        assert found.answer == expected.answer
        np.testing.assert_allclose([c for _, c in found.top], [c for _, c in expected.top], rtol=1e-5)


def test_a_batch_answers_as_one_by_one(model: Path, photos: Path) -> None:
    together = list(predict(model, [photos]))
    for alone, found in zip((next(predict(model, [p.path])) for p in together), together, strict=True):
        assert alone.answer == found.answer and alone.error == found.error
        np.testing.assert_allclose([c for _, c in alone.top], [c for _, c in found.top], rtol=1e-5)
