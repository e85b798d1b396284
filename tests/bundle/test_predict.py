"""`predict` answers for every readable picture, in a stable order, and says why for the others."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgetl.bundle.answers import write_csv
from edgetl.bundle.predict import find_images, predict
from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.runtime.onnx_metadata import ModelInfo, describe, save

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
    assert [p.relative_to(photos).as_posix() for p in find_images([photos])] == ["a.png", "b/10.PNG", "b/2.png", "broken.jpg"]


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


def test_a_bare_model_needs_a_preprocess_and_numbers_its_classes(photos: Path, tmp_path: Path) -> None:
    save(float_graph(), tmp_path / "bare.onnx")
    with pytest.raises(InputError, match=r"found no Preprocess .* --preprocess"):
        predict(tmp_path / "bare.onnx", [photos])
    (found,) = predict(tmp_path / "bare.onnx", [photos / "a.png"], preprocess=imagenet(24))
    assert found.answer in {str(i) for i in range(len(CLASSES))}


def test_the_csv_holds_a_row_for_each_picture(model: Path, photos: Path, tmp_path: Path) -> None:
    given = list(predict(model, [photos]))
    write_csv(tmp_path / "answers.csv", given)
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [p.path.as_posix() for p in given]
    assert [row["answer"] for row in rows] == [p.answer or "" for p in given]
    assert float(rows[0]["confidence"]) == pytest.approx(given[0].confidence, abs=1e-6)
    assert rows[3]["error"] and not rows[3]["confidence"]
