"""Rows of an .npz that show the same thing are one group, as the files that they were made of would be."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from edgetl.core.imagefile import decode
from edgetl.core.preprocess import imagenet
from edgetl.data.npz import open_npz
from edgetl.data.rows import are_pictures
from edgetl.metrics.clusters import group_numbers

FRAMES = 12


def saved(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=92)
    return stream.getvalue()


def next_frame(image: Image.Image) -> Image.Image:
    """The camera moved by 3% of a side, the exposure by a tenth, and the noise is new."""
    width, height = image.size
    frame = ImageEnhance.Brightness(image.crop((round(0.03 * width), round(0.03 * height), width, height))).enhance(0.9)
    pixels = np.asarray(frame, dtype=np.float64) + np.random.default_rng(width).normal(0, 4, np.asarray(frame).shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def rows(shared: Path) -> np.ndarray:
    """60 photos as a network takes them, and behind them the next frame of the first twelve."""
    files = sorted((shared / "data" / "hymenoptera").rglob("*.jpg"))[:60]
    prepare, images = imagenet(64), [decode(path.read_bytes(), shorter=256) for path in files]
    return np.stack([prepare(saved(image)) for image in [*images, *(next_frame(image) for image in images[:FRAMES])]])


@pytest.mark.parametrize("last", [False, True])
def test_the_next_frame_of_a_row_is_in_its_group_and_nothing_else(rows: np.ndarray, tmp_path: Path, last: bool) -> None:
    np.savez(tmp_path / "a.npz", x=np.moveaxis(rows, 1, -1) if last else rows)
    tensors = open_npz(tmp_path / "a.npz")
    wanted = {frozenset((tensors.hashes[at], tensors.hashes[60 + at])) for at in range(FRAMES)}
    assert set(map(frozenset, tensors.groups_here)) == wanted and tensors.doubt is None


def test_rows_that_are_the_same_are_one_image_and_gray_ones_are_pictures_too(rows: np.ndarray, tmp_path: Path) -> None:
    gray = rows[:60].mean(axis=1, keepdims=True)
    np.savez(tmp_path / "a.npz", x=np.concatenate([gray, gray[:1], 3 * gray[1:2] - 1]))
    tensors = open_npz(tmp_path / "a.npz")
    copies, alike = (tensors.hashes[0], tensors.hashes[60]), (tensors.hashes[1], tensors.hashes[61])
    assert tensors.groups_here == tuple(sorted(tuple(sorted(group)) for group in (copies, alike))) and copies[0] == copies[1]
    np.savez(tmp_path / "b.npz", x=np.concatenate([gray, gray[:1]]))
    only = open_npz(tmp_path / "b.npz")
    assert len(set(group_numbers(only.hashes, only.groups_here).tolist())) == 60 and only.groups_here == (copies,)


def test_of_rows_that_are_no_pictures_it_is_said_that_they_are_taken_as_independent(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.repeat(np.random.default_rng(0).normal(size=(4, 12, 16, 16)).astype(np.float32), 3, axis=0))
    tensors = open_npz(tmp_path / "a.npz")
    assert tensors.groups_here == () and tensors.doubt is not None and "taken as independent" in tensors.doubt
    assert not are_pictures((9, 3, 7, 64)) and are_pictures((9, 1, 8, 8))


def test_a_blank_row_is_like_no_other(rows: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.concatenate([rows[:30], np.zeros((1, 3, 64, 64), np.float32), np.ones((1, 3, 64, 64), np.float32)]))
    assert open_npz(tmp_path / "a.npz").groups_here == ()
