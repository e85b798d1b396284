"""Parts under whatever names people give them: taken and told, or asked for; never a classifier of Training against Testing."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError
from edgetl.core.files import read_json, write_json
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_calibration, open_labelled
from edgetl.data.files import class_name, native
from edgetl.data.images import Images
from edgetl.data.partnames import alike, part_name, part_of
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.settings import DataSettings

Photos = Callable[..., Path]


def opened(root: Path) -> Images:
    return open_images(str(root), DataSettings())


def refused(root: Path) -> str:
    with pytest.raises(InputError) as error:
        opened(root)
    return str(error.value)


def classes(first: str, second: str) -> dict[str, int]:
    return {f"{first}/cat": 12, f"{first}/dog": 12, f"{second}/cat": 4, f"{second}/dog": 4}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, "train")
            for name in ("train", "TRAIN", "Training", "training_set", "train-images", "trainset", "TrainingData", "Train Set")
        ),
        *((name, "val") for name in ("val", "valid", "Validation", "validation_set", "valImages", "images_valid")),
        *((name, "test") for name in ("test", "Testing", "test_set", "TESTSET", "test.data")),
        *((name, None) for name in ("trainer", "contest", "station", "traintest", "train_val", "value", "cat", "", "train station")),
    ],
)
def test_names_of_parts(name: str, part: str | None) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize("name", ["seg_train", "train-seg", "SegTrain", "segTrainingSet"])
def test_what_a_name_says_beside_its_part(name: str) -> None:
    found = part_name(name)
    assert found is not None and (found.part, found.rest) == ("train", ("seg",))


def test_folders_look_alike_by_most_of_their_names_but_not_by_numbered_batches() -> None:
    assert alike(["cat", "dog", "cow"], ["Cat", "dog"]) and alike("0123456789", "012345678")
    assert not alike(["cat", "dog"], ["cat", "car", "bus"])
    assert not alike(["batch1", "batch2"], ["batch1", "batch2"]) and not alike(["2023", "2024"], ["2023", "2024"])
    assert not alike(["2024-05-01", "2024-05-02"], ["2024-05-01", "2024-05-02"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train_images", "testing"),
        ("TRAIN", "Validation"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("train2017", "val2017"),
        ("intel-train", "intel-valid"),
    ],
)
def test_parts_under_other_names_are_taken_and_told(first: str, second: str, photos: Photos, told: Any) -> None:
    images = opened(photos(classes(first, second)))
    assert images.classes == ("cat", "dog")
    assert {ref.part for ref in images.refs if ref.where.startswith(f"{second}/")} == {"test"}
    assert {ref.part for ref in images.refs if ref.where.startswith(f"{first}/")} == {"train", "val"}
    assert f"{first}/ is the train part" in told.text or first == "TRAIN"


def test_three_parts_with_a_set_that_nobody_labelled_are_asked_for(photos: Photos) -> None:
    message = refused(photos({**classes("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred": 3}))
    assert "expected only train/, val/ and test/" in message and "seg_pred/" in message and "Move them elsewhere" in message


def test_a_part_whose_images_nobody_labelled_is_asked_for(photos: Photos) -> None:
    message = refused(photos({**classes("train", "val"), "test1": 5}))
    assert "found other folders with images beside them:\n  test1/" in message
    message = refused(photos({**classes("train", "val"), "test": 5}, root="second"))
    assert "no class folders in test/ (5 images lie directly in it)" in message and "or move test/ elsewhere" in message


@pytest.mark.parametrize(("first", "second"), [("alpha", "beta"), ("train", "holdout"), ("2023_set", "holdout")])
def test_folders_of_the_same_folders_are_asked_for(first: str, second: str, photos: Photos) -> None:
    message = refused(photos(classes(first, second)))
    assert "found folders that all contain the same subfolders:" in message and f"{second}/: cat, dog" in message
    assert "If they are parts of a split, name them train/, val/ and test/" in message and "CSV (path,label)" in message


def test_a_part_for_each_class_is_asked_for(photos: Photos) -> None:
    message = refused(photos({"cats_train": 9, "cats_test": 3, "dogs_train": 9, "dogs_test": 3}))
    assert "found several of each:\n  cats_test/ and cats_train/\n  dogs_test/ and dogs_train/" in message and "train/CLASS/" in message


def test_parts_inside_of_classes_and_of_one_of_several_folders_are_asked_for(photos: Photos) -> None:
    message = refused(photos({f"{label}/{part}": 5 for label in ("cat", "dog") for part in ("train", "test")}))
    assert (
        "found train, val or test folders inside of folders:\n  cat/: test, train\n  dog/: test, train" in message
        and "train/CLASS/" in message
    )
    root = photos({**classes("dataset/train", "dataset/val"), "more": 5}, root="second")
    assert f"Did you mean {root / 'dataset'}?" in refused(root)


@pytest.mark.parametrize("wrapper", ["dataset", "data/images"])
def test_one_folder_around_the_parts_is_guessed(wrapper: str, photos: Photos) -> None:
    root = photos(classes(f"{wrapper}/train", f"{wrapper}/test"))
    assert f"Did you mean {root / wrapper}, which holds the folders test, train?" in refused(root)


def test_subfolders_of_classes_that_are_no_parts_do_no_harm(photos: Photos) -> None:
    batches = photos({f"{label}/{batch}": 8 for label in ("cat", "dog") for batch in ("batch1", "batch2")})
    assert opened(batches).classes == ("cat", "dog")
    mixed = photos({"cat/kitten": 8, "cat/old": 8, "cat": 4, "dog/puppy": 8, "dog/old": 8}, root="mixed")
    assert opened(mixed).classes == ("cat", "dog")
    assert opened(photos({"train": 16, "bus": 16, "test tube": 16}, root="things")).classes == ("bus", "test tube", "train")


def test_only_the_training_part_calibrates_whatever_its_name(photos: Photos, told: Any) -> None:
    root = photos(classes("Training", "Testing"))
    tensors = open_calibration(root, Preprocess(size=8, resize=8))
    assert isinstance(tensors, ImageTensors) and {ref.where.split("/")[0] for ref in tensors.images.refs} == {"Training"}
    assert f"{root}: only Training/ is used for calibration" in told.lines


def test_the_testing_part_judges_whatever_its_name(photos: Photos) -> None:
    found = open_labelled(str(photos(classes("Training", "Testing"))), classes=("cat", "dog"))
    assert isinstance(found, Images) and len(found) == 8 and {ref.where.split("/")[0] for ref in found.refs} == {"Testing"}


def test_a_folder_too_high_is_guessed_where_a_model_knows_its_classes(photos: Photos) -> None:
    root = photos({"all/cat": 3, "all/dog": 3})
    with pytest.raises(InputError, match=r"all Did you mean .*all, which holds the folders cat, dog\?"):
        open_labelled(str(root), classes=("cat", "dog"))


def test_a_test_part_alone_judges(photos: Photos) -> None:
    found = open_labelled(str(photos({"seg_test/cat": 3, "seg_test/dog": 3}, root="seg_test")), classes=("cat", "dog"))
    assert isinstance(found, Images) and len(found) == 6


@pytest.mark.parametrize(("first", "second"), [("Cat", "cat"), ("cat", "cat "), ("old  cat", "old cat"), ("ﬁsh", "fish")])
def test_class_names_that_people_take_for_one_are_asked_for(first: str, second: str, photos: Photos) -> None:
    message = refused(photos({first: 12, second: 9, "dog": 12}))
    assert "class names that differ in case or spaces only" in message and "Give them one name" in message
    assert f"{first!r} (12 images)" in message and f"{second!r} (9 images)" in message


def test_two_folders_of_one_name_in_composed_and_decomposed_letters_are_asked_for(photos: Photos) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))
    root = photos({composed: 12, "dog": 12})
    (root / decomposed).mkdir(exist_ok=True)
    if len(list(root.iterdir())) == 2:
        pytest.skip("this file system takes them for one")
    (root / "dog" / "000.png").rename(root / decomposed / "000.png")
    message = refused(root)
    assert "differ only in how an accent is stored. Merge them" in message and "'A\\u0308pfel' (1 images)" in message


def test_images_in_subfolders_count_to_the_class_above_and_it_is_told(photos: Photos, told: Any) -> None:
    opened(photos({"cat/batch1": 12, "cat/batch2": 12, "dog": 12}))
    assert "photos: images in subfolders belong to the class folder above them: cat/batch1/ and 1 more" in told.lines


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_python_took_for_ascii_are_read_as_utf8(photos: Photos) -> None:
    """What `os.listdir` gives under `PYTHONUTF8=0` in the C locale."""
    ascii_form = "Äpfel".encode().decode("ascii", "surrogateescape")
    assert class_name(ascii_form) == class_name("Äpfel") == "Äpfel"
    assert class_name("caf\udce9") == "caf\udce9"  # no UTF-8 at all: refused where a class is called so
    assert native(ascii_form) == native("Äpfel") == os.fsdecode("Äpfel".encode())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_folder_whose_own_name_is_no_utf8_can_hold_the_data(photos: Photos, tmp_path: Path) -> None:
    root = photos({"cat": 12, "dog": 12})
    odd = root.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    images = opened(odd)
    write_json(tmp_path / "split.json", {"name": images.name})
    assert images.classes == ("cat", "dog") and read_json(tmp_path / "split.json") == {"name": "caf\udce9"}
    assert digest_of([images.name]) != digest_of(["caf"])


def test_a_class_that_is_spelled_in_two_ways_in_two_parts_is_asked_for(photos: Photos) -> None:
    message = refused(photos({"train/Cat": 12, "train/dog": 12, "val/cat": 3, "val/dog": 3}))
    assert "'Cat' (12 images) and 'cat' (3 images)" in message
