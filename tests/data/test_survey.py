"""What is said and found before work begins: 12 bits in 16-bit files, and photos of which the center crop keeps little."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.core.imagefile import Depth, depth_of, may_be_deep
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_calibration, open_labelled
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.data.survey import CHOICE, deepened, deepest, surveyed, surveyed_files
from edgetl.settings import DataSettings

PLAIN = Preprocess(size=16, resize=16)


def deep(folder: Path, bits: int, count: int = 10) -> Path:
    """Two classes of 16-bit gray PNGs that hold `bits` bits; in each class one image only reaches the upper half."""
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng(100 * label + number)
            most = (1 << bits) - 1 if number == 3 else 1 << (bits - 1)
            coarse = rng.random((6, 6)) * (most // 2) + label * most // 2
            values = np.kron(coarse, np.ones((5, 5))).astype(np.uint16)
            values[0, 0] = most
            Image.fromarray(values).save(folder / name / f"{number}.png")
    return folder


def values_of(images: Images, index: int) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(images.read(index)))).astype(np.int64)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_that_a_set_fills_are_found_over_all_of_it_and_scaled(tmp_path: Path, told: Any, bits: int) -> None:
    images = open_images(str(deep(tmp_path / "deep", bits)), DataSettings())
    assert images.depth == Depth(largest=(1 << bits) - 1)
    found = surveyed(images, PLAIN)
    assert found.bits == bits and images.only("test").depth == images.depth
    said = [line for line in told.lines if "16-bit images hold values up to" in line]
    assert (len(said), bits < 16) in ((1, True), (0, False))
    for index in range(len(images)):
        eight = (values_of(images, index) >> (bits - 8)).astype(np.uint8)  # the same picture in a file of 8 bits
        stream = io.BytesIO()
        Image.fromarray(eight).save(stream, "PNG")
        np.testing.assert_array_equal(found.pixels(images.read(index)), PLAIN.pixels(stream.getvalue()))
    assert '"bits"' in found.to_json() and Preprocess.from_json(found.to_json()) == found


def test_sets_without_16_bit_files_stay_as_they_are(photos: Callable[..., Path]) -> None:
    images = open_images(str(photos({"ants": 10, "bees": 10})), DataSettings())
    assert images.depth is None and surveyed(images, PLAIN) == PLAIN


def test_depth_is_remembered_by_the_index_and_found_by_every_way_in(tmp_path: Path) -> None:
    root = deep(tmp_path / "deep", 12)
    for _ in range(2):
        assert open_images(str(root), DataSettings(), index=tmp_path / "index").depth == Depth(largest=4095)
    labelled, calibration = open_labelled(str(root)), open_calibration(root, PLAIN)
    assert isinstance(labelled, Images) and labelled.depth == Depth(largest=4095)
    assert getattr(calibration, "images").depth == Depth(largest=4095)  # noqa: B009


def test_files_alone_are_surveyed_together(tmp_path: Path, told: Any) -> None:
    root = deep(tmp_path / "deep", 12)
    (root / "none.png").write_bytes(b"no image")
    assert surveyed_files(sorted(root.rglob("*.png")), PLAIN).bits == 12
    assert 'so they hold 12 bits: 4095 is taken for white ("bits": 12 in the preprocessing)' in told.text


def test_what_the_preprocess_says_is_not_guessed_again(tmp_path: Path, told: Any) -> None:
    told_by = Preprocess(size=16, resize=16, bits=16)
    images = open_images(str(deep(tmp_path / "deep", 12)), DataSettings())
    assert surveyed(images, told_by) == told_by
    assert 'the preprocessing has "bits": 16: they become nearly black' in told.text
    narrow = Preprocess(size=16, resize=16, bits=10)
    assert surveyed(images, narrow) == narrow
    assert 'the preprocessing has "bits": 10: values above 1023 become white' in told.text


def test_color_of_12_bits_in_16_is_refused_since_only_its_high_byte_is_read() -> None:
    with pytest.raises(InputError, match=r"\(12 bits\)\. .* nearly black\. Save them with 8 bits per channel .*divide the values by 16"):
        deepened(PLAIN, Depth(largest=4095, color=True), "scans")
    assert deepened(PLAIN, Depth(largest=65535, color=True), "scans") == PLAIN


def test_depths_add_up() -> None:
    assert deepest([]) is None and deepest([None, None]) is None
    assert deepest([None, Depth(largest=3), Depth(largest=9, color=True)]) == Depth(largest=9, color=True)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_the_head_of_a_file_tells_where_depth_is_worth_looking_for(form: str) -> None:
    stream = io.BytesIO()
    values = np.full((20, 20), 4000, dtype=np.uint16)
    if form == "PPM":
        stream.write(b"P5\n20 20\n65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(stream, form)
    assert may_be_deep(stream.getvalue()[:32]) and depth_of(stream.getvalue()) == Depth(largest=4000)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_eight_bits_have_no_depth(form: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(stream, form)
    assert not may_be_deep(stream.getvalue()[:32]) and depth_of(stream.getvalue()) is None


def panoramas(folder: Path, width: int, height: int) -> Images:
    for label in ("ants", "bees"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            pixels = np.random.default_rng([len(label), number, label == "ants"]).integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return open_images(str(folder), DataSettings())


@pytest.mark.parametrize(
    ("width", "height", "share"), [(128, 32, "25%"), (32, 128, "25%"), (64, 40, "64%"), (64, 44, None), (40, 40, None)]
)
def test_a_crop_that_keeps_less_than_two_thirds_is_said_with_the_choice(
    tmp_path: Path, told: Any, width: int, height: int, share: str | None
) -> None:
    images = panoramas(tmp_path / "panos", width, height)
    surveyed(images, PLAIN, CHOICE)
    expected = [f"panos: the center crop keeps {share} of the median photo ({width} x {height} pixels). {CHOICE}"] if share else []
    assert [line for line in told.lines if "the center crop keeps" in line] == expected
    told.lines.clear()
    for fit in ("squash", "pad"):
        surveyed(images, PLAIN.fitted(fit), CHOICE)
    surveyed(images, Preprocess(size=(height, width), resize=(height, width)))
    assert "the center crop keeps" not in told.text
