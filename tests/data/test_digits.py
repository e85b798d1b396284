"""The embedded digits: what is in which part, and what is reserved for calibration."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from edgetl.core.errors import InputError
from edgetl.core.imagefile import decode
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_labelled
from edgetl.data.digits import MemorySource, reserved_digits
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings

FOLDER = Path(__file__).parents[2] / "calibration"


def test_that_near_duplicates_were_not_looked_for_is_said_of_data_by_name_and_of_no_files(tmp_path: Path) -> None:
    images = open_labelled("digits")
    assert isinstance(images, Images) and images.groups_here == () and images.looks == {}
    blind = f"{len(images)} of {len(images)} images of digits are taken as independent: their looks are not known"
    assert images.doubt == f"{blind}, so near-duplicates are not looked for among them"
    for at in range(4):
        (folder := tmp_path / "d" / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
        (folder / f"{at}.pgm").write_bytes(images.read(at))
    assert open_labelled(str(tmp_path / "d")).doubt is None


def test_every_digit_of_sklearn_is_in_one_part_or_reserved() -> None:
    images = open_images(None, DataSettings())
    reserved = {digit.sha256 for digit in reserved_digits()}
    assert len(images) + len(reserved) == 1797
    assert len(set(images.hashes)) == len(images) and not reserved & set(images.hashes)
    assert (images.name, images.classes, images.flip, images.origin) == ("digits", tuple("0123456789"), False, "digits")


def test_the_test_part_has_450_images_whatever_the_settings() -> None:
    first = open_images(None, DataSettings())
    other = open_images("digits", DataSettings(seed=7, val_share=0.3, test_share=0.1))
    assert first.counts()["test"] == 450
    assert np.bincount(first.only("test").labels).tolist() == [45] * 10
    assert first.only("test").digest == other.only("test").digest
    assert first.only("val").digest != other.only("val").digest
    assert abs(first.counts()["val"] / (len(first) - 450) - 0.15) < 0.03


def test_pixels_and_labels_are_those_of_sklearn() -> None:
    images, source = open_images(None, DataSettings()), load_digits()
    for index in range(0, len(images), 97):
        ref = images.refs[index]
        number = int(Path(ref.where).stem)
        assert images.classes[ref.label] == str(source.target[number])
        gray = np.asarray(decode(images.read(index)))[..., 0]
        np.testing.assert_allclose(gray, source.images[number] * 255 / 16, atol=0.5)
        assert hashlib.sha256(images.read(index)).hexdigest() == ref.sha256


def test_reserved_digits_are_balanced() -> None:
    assert [sum(digit.label == str(label) for digit in reserved_digits()) for label in range(10)] == [6] * 10


def test_calibration_folder_manifest_and_rule_agree() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    rule = {digit.sha256: digit for digit in reserved_digits()}
    listed = {row["content_sha256"]: row for row in manifest["images"]}
    assert listed.keys() == rule.keys()
    assert {row["file"] for row in listed.values()} == {f"digits/{path.name}" for path in (FOLDER / "digits").iterdir()}
    for content, row in listed.items():
        data = (FOLDER / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert np.array_equal(np.asarray(decode(data)), np.asarray(decode(rule[content].pgm)))


def test_no_calibration_image_shows_the_pixels_of_an_image_in_a_part() -> None:
    images = open_images(None, DataSettings())
    shown = {np.asarray(Image.open(io.BytesIO(images.read(i)))).tobytes() for i in range(len(images))}
    reserved = {np.asarray(Image.open(path)).tobytes() for path in (FOLDER / "digits").iterdir()}
    assert len(reserved) == 60 and not shown & reserved


def test_no_calibration_file_name_or_order_tells_the_class() -> None:
    assert all(path.stem == digit.sha256[:12] for path, digit in zip(sorted((FOLDER / "digits").iterdir()), reserved_digits(), strict=True))


def test_digits_pass_a_preprocess() -> None:
    images = open_images(None, DataSettings())
    assert Preprocess(size=32, resize=32)(images.read(0)).shape == (3, 32, 32)


def test_an_image_that_memory_does_not_hold_is_named() -> None:
    with pytest.raises(InputError, match=r"expected an image named a\.pgm, found none among 0"):
        MemorySource(files={}).read("a.pgm")
