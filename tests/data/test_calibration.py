"""Inputs for one stage alone: calibration sets without labels, labelled sets that decide or judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_calibration, open_evaluation, open_labelled
from edgetl.data.images import Images
from edgetl.data.npz import NpzTensors
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.settings import DataSettings

Photos = Callable[..., Path]
PREPARED = Preprocess(size=8, resize=8)
DIGITS = Path(__file__).parents[2] / "calibration" / "digits"
X = np.zeros((4, 3, 8, 8), np.float32)


def test_the_committed_digits_are_a_calibration_set_disjoint_from_the_embedded_data() -> None:
    tensors = open_calibration(DIGITS, PREPARED)
    batches = list(tensors.batches(25))
    assert [len(batch.x) for batch in batches] == [25, 25, 10] and all(batch.y is None for batch in batches)
    embedded = open_images(None, DataSettings())
    known = {PREPARED(embedded.read(i)).tobytes() for i in range(len(embedded))}
    assert not any(row.tobytes() in known for batch in batches for row in batch.x)


def test_flat_and_nested_folders_give_the_same_in_the_order_of_content(photos: Photos, tmp_path: Path, told: Any) -> None:
    nested = photos({"a": 6, "b/c": 6})
    (nested / "manifest.json").write_text("{}", encoding="utf-8")
    (nested / "README.md").write_text("# mine", encoding="utf-8")
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(nested.rglob("*.png"), reverse=True)):
        (flat / f"{number}.png").write_bytes(path.read_bytes())
    first, second = open_calibration(nested, PREPARED), open_calibration(flat, PREPARED)
    assert first.digest == second.digest and list(first.hashes) == sorted(first.hashes) and len(first) == 12
    assert np.array_equal(next(first.batches(12)).x, next(second.batches(12)).x)


def test_only_train_calibrates(photos: Photos, told: Any) -> None:
    root = photos({"train/a": 5, "val/a": 3})
    tensors = open_calibration(root, PREPARED)
    assert isinstance(tensors, ImageTensors) and {ref.where.split("/")[0] for ref in tensors.images.refs} == {"train"}
    assert f"{root}: only train/ is used for calibration" in told.lines


def test_calibration_from_an_npz_needs_no_preprocess(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X)
    assert isinstance(open_calibration(tmp_path / "a.npz", None), NpzTensors)


@pytest.mark.parametrize("entry", ["calibration", "evaluation"])
def test_images_without_a_preprocess_are_refused(photos: Photos, entry: str) -> None:
    root = photos({"ants": 12, "bees": 12})
    with pytest.raises(InputError, match=r"expected preprocessing for the images in .*--preprocess FILE .* or --preprocess imagenet"):
        open_calibration(root, None) if entry == "calibration" else open_evaluation(str(root), None)


def test_calibration_paths_that_cannot_be_used(photos: Photos, tmp_path: Path) -> None:
    root = photos({"empty": 0, "photos": 2})
    (root / "a.txt").write_text("x", encoding="utf-8")
    (root / "photos" / "000.png").write_bytes(b"x")
    (root / "photos" / "001.png").write_bytes(b"")
    for path, words in (
        (root / "photo", r'found nothing \(did you mean "photos"\?\)\. Give a folder of images or an \.npz'),
        (root / "a.txt", "expected a folder of images or an .npz file for calibration, found the file"),
        (root / "empty", "no images. Give a folder that holds some"),
        (root / "photos", "  000.png: no image, or of a kind that cannot be read\n  001.png: empty file"),
    ):
        with pytest.raises(InputError, match=words):
            open_calibration(path, PREPARED)


def test_class_folders_are_judged_whole_by_the_models_classes(photos: Photos) -> None:
    root = photos({"wasps": 3, "ants": 2})
    found = open_labelled(str(root), classes=("wasps", "flies", "ants"))
    assert isinstance(found, Images) and found.classes == ("wasps", "flies", "ants")
    assert sorted(found.labels.tolist()) == [0, 0, 0, 2, 2] and found.counts()["test"] == 5
    free = open_labelled(str(root))
    assert isinstance(free, Images) and free.classes == ("ants", "wasps")


def test_classes_that_the_model_does_not_know_are_all_named(photos: Photos) -> None:
    root = photos({"wasp": 3, "ants": 2, "yaks": 1})
    with pytest.raises(InputError) as error:
        open_labelled(str(root), classes=("ants", "wasps"))
    assert 'classes that the model does not know (it knows ants, wasps):\n  wasp (did you mean "wasps"?)\n  yaks' in str(error.value)


@pytest.mark.parametrize("judge", ["val", "test"])
def test_of_parts_only_the_asked_one_is_taken(photos: Photos, judge: str) -> None:
    root = photos({"train/ants": 20, "train/bees": 20, f"{judge}/ants": 2, f"{judge}/bees": 3})
    test, val = open_labelled(str(root)), open_labelled(str(root), part="val")
    assert isinstance(test, Images) and {ref.where.split("/")[0] for ref in test.refs} == {judge} and len(test) == 5
    assert isinstance(val, Images) and {ref.where.split("/")[0] for ref in val.refs} == {"train"} and len(val)
    whole = open_images(str(root), DataSettings())
    assert set(val.hashes) == set(whole.only("val").hashes) and set(test.hashes) == set(whole.only("test").hashes)


def test_three_parts_and_a_part_that_is_not_there(photos: Photos) -> None:
    root = photos({f"{part}/{label}": n for part, n in (("train", 4), ("val", 2), ("test", 3)) for label in ("ants", "bees")})
    assert len(open_labelled(str(root))) == 6 and len(open_labelled(str(root), part="val")) == 4
    alone = photos({"test/ants": 3, "test/bees": 3}, root="alone")
    assert len(open_labelled(str(alone))) == 6
    with pytest.raises(InputError, match="no images in its val part"):
        open_labelled(str(alone), part="val")


def test_digits_by_name_give_their_test_part() -> None:
    found = open_labelled("digits", classes=tuple("9876543210"))
    assert isinstance(found, Images) and len(found) == 450 and found.classes[0] == "9"
    plain = open_images(None, DataSettings()).only("test")
    assert (found.labels == 9 - plain.labels).all()


def test_an_npz_that_judges_needs_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=np.arange(4))
    np.savez(tmp_path / "b.npz", x=X)
    assert isinstance(open_evaluation(str(tmp_path / "a.npz"), None), NpzTensors)
    with pytest.raises(InputError, match=r"expected labels in .*b\.npz, found only 'x'\. Add an array `y`"):
        open_labelled(str(tmp_path / "b.npz"))


def test_evaluation_is_labelled(photos: Photos) -> None:
    tensors = open_evaluation(str(photos({"ants": 3, "bees": 3})), PREPARED)
    assert isinstance(tensors, ImageTensors)
    batch = next(tensors.batches(6))
    assert batch.y is not None and np.array_equal(batch.y, tensors.images.labels)
    assert np.array_equal(batch.x[0], PREPARED(tensors.images.read(0)))
