"""Thumbnails are small, upright, the same every time, and tell nothing but what is to be seen."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.report.html import render
from edgetl.report.publish import pictures
from edgetl.report.thumbnails import PICTURES_BYTES, thumbnail, with_thumbnails

from .conftest import log, photo, trial

PAGE_BYTES = 1_500_000


def opened(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    assert image.format == "JPEG"
    return image


def test_they_say_nothing_about_place_camera_or_author() -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.0)  # latitude
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo(1))).save(stream, format="JPEG", exif=exif, comment=b"by somebody", icc_profile=b"profile" * 20)
    assert b"camera" in stream.getvalue() and b"somebody" in stream.getvalue()
    made = thumbnail(stream.getvalue(), 50_000)
    assert not any(word in made for word in (b"camera", b"Exif", b"somebody", b"profile"))
    assert not opened(made).getexif()


def test_they_are_upright_and_whole() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is needed
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo(2, 400, 200))).save(stream, format="JPEG", exif=exif)
    assert opened(thumbnail(stream.getvalue(), 50_000)).size == (120, 240)


@pytest.mark.parametrize(("size", "expected"), [((8, 8), (128, 128)), ((50, 20), (100, 40)), ((65, 40), (65, 40)), ((2000, 20), (240, 2))])
def test_small_images_are_enlarged_in_whole_pixels_and_others_never(size: tuple[int, int], expected: tuple[int, int]) -> None:
    stream = io.BytesIO()
    Image.new("L", size, 200).save(stream, format="PNG")
    assert opened(thumbnail(stream.getvalue(), 50_000)).size == expected


@pytest.mark.parametrize("most", [30_000, 12_000, 6_000])
def test_noise_fits_the_budget_too(most: int) -> None:
    assert len(thumbnail(photo(3, 600, 600, noise=True), most)) <= most


def test_the_same_photos_give_the_same_bytes(tmp_path: Path) -> None:
    gallery, photos = trial(student_errors=0.1).images().gallery(4), {}
    for shown in (*gallery.mistakes, *gallery.differences):
        photos[shown.sha256] = photo(len(photos))
    made = [with_thumbnails(gallery, 3, photos.__getitem__, tmp_path / name) for name in ("a", "b")]
    assert made[0] == made[1] and [bool(shown.thumbnail) for shown in made[0].mistakes] == [True, True, True, False]
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b") != {}


def test_no_thumbnails_no_folder(tmp_path: Path) -> None:
    gallery = trial(student_errors=0.1).images().gallery(4)
    assert with_thumbnails(gallery, 0, lambda sha: b"", tmp_path / "thumbnails") == gallery
    assert list(tmp_path.iterdir()) == []


def test_the_largest_page_stays_within_its_budget(tmp_path: Path) -> None:
    """A hundred classes, and as many photos of pure noise as the settings allow."""
    simulated = trial(classes=[f"class number {i}" for i in range(100)], count=3000, student_errors=0.3)
    report, gallery = simulated.report(), simulated.images().gallery(50)
    noise = photo(0, 300, 300, noise=True)
    rng = np.random.default_rng(0)
    pictured = with_thumbnails(gallery, 50, lambda sha: noise + rng.bytes(8), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= PICTURES_BYTES
    page = render(report.to_json(), {"finetune": log(12), "distill": log(100)}, pictured, pictures(tmp_path))
    assert page.count("<img ") > 50 and len(page.encode()) <= PAGE_BYTES
