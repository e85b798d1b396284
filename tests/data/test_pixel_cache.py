"""Decoded images: each once, exactly what the Preprocess gives, within the budget or refused before anything is decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgetl.core.errors import WorkspaceError
from edgetl.core.preprocess import Preprocess
from edgetl.data import pixel_cache
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.pixel_cache import GIB, SPARE_BYTES, center, decoded_pixels, inset_of, keeping, square
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.settings import DataSettings, Runtime

DECODED = "decode images"
SMALL = Preprocess(size=16, resize=21)


@pytest.fixture
def images(photos: Callable[..., Path]) -> Images:
    return open_images(str(photos({"ants": 10, "bees": 10})), DataSettings())


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("resize", [17, 20, 21, 23])
def test_the_center_of_the_square_is_exactly_the_view_that_the_preprocess_asks_for(size: int, resize: int) -> None:
    """Whatever the sides are, odd or even, and whatever half-way cases rounding meets."""
    preprocess = Preprocess(size=size, resize=resize)
    for longer in range(resize, resize + 12):
        for shape in ((resize, longer, 3), (longer, resize, 3)):
            image = np.arange(np.prod(shape), dtype=np.int64).astype(np.uint8).reshape(shape)
            cut = square(image, preprocess)
            assert cut.shape == (resize, resize, 3)
            top, left = inset_of(preprocess)
            np.testing.assert_array_equal(cut[top : top + size, left : left + size], preprocess.crop(image))


def test_within_the_block_each_image_is_decoded_once_with_and_without_margin(images: Images, told: Any) -> None:
    with keeping(Runtime()):
        wide, plain = pixel_set(images, SMALL, margin=True), pixel_set(images, SMALL, margin=False)
        other_colors = replace(SMALL, mean=(0.1, 0.2, 0.3))
        pixel_set(images, other_colors, margin=True)
        with keeping(Runtime()):  # as a stage inside a pipeline
            list(ImageTensors(images=images, preprocess=SMALL).batches(7))
        assert told.advanced.pop(DECODED) == len(images)
    top, left = inset_of(SMALL)
    assert np.array_equal(plain.pixels, wide.pixels[..., top : top + 16, left : left + 16])
    pixel_set(images, SMALL, margin=True)
    assert told.advanced.pop(DECODED) == len(images)  # nothing was kept beyond the block


def test_other_images_order_or_sizes_are_not_taken_for_the_same(images: Images) -> None:
    with keeping(Runtime()):
        decoded_pixels(images, SMALL)
        for some, preprocess in (
            (images.only("train"), SMALL),
            (replace(images, refs=images.refs[::-1]), SMALL),
            (images, SMALL.at(17)),
            (images, replace(SMALL, filter="bicubic")),
            (images, SMALL.fitted("squash")),
            (images, SMALL.fitted("pad")),
            (images, replace(SMALL, fit="pad", fill=3)),
            (images, replace(SMALL, size=(16, 9), resize=(17, 12))),
            (images, replace(SMALL, size=(9, 16), resize=(12, 21), fit="squash")),
            (images, replace(SMALL, color="gray", mean=(0.5,), std=(0.5,))),
        ):
            found = center(decoded_pixels(some, preprocess), preprocess)
            expected = np.stack([preprocess.pixels(some.read(i)) for i in range(len(some))]).transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(found, expected)


GRAY = Preprocess(size=(16, 9), resize=(18, 12), color="gray", mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("preprocess", [SMALL, SMALL.fitted("squash"), SMALL.fitted("pad"), GRAY], ids=str)
def test_inputs_are_the_same_bits_kept_or_not(images: Images, preprocess: Preprocess) -> None:
    tensors = ImageTensors(images=images, preprocess=preprocess)
    plain = [batch.x for batch in tensors.batches(6)]
    with keeping(Runtime()):
        for expected, found in zip(plain, tensors.batches(6), strict=True):
            assert found.x.tobytes() == expected.tobytes() and found.x.flags.c_contiguous


def test_beyond_the_memory_budget_pixels_lie_in_a_file_and_are_the_same(images: Images, told: Any) -> None:
    expected = decoded_pixels(images, SMALL)
    one = expected.nbytes / GIB
    with keeping(Runtime(pixel_memory_gib=0.0, pixel_disk_gib=one)) as shelf:
        found = decoded_pixels(images, SMALL)
        assert isinstance(found, np.memmap) and np.array_equal(found, expected)
        assert (shelf.in_memory, shelf.on_disk) == (0, expected.nbytes)
        assert "are kept in a temporary file" in told.text


def test_beyond_both_budgets_nothing_is_decoded(images: Images, told: Any) -> None:
    with keeping(Runtime(pixel_memory_gib=0.0, pixel_disk_gib=0.0)), pytest.raises(WorkspaceError) as error:
        decoded_pixels(images, SMALL)
    assert str(error.value) == (
        "expected decoded images to fit into 0 GiB of temporary files, found that they take 0.0. "
        "Allow more with --pixel-disk GIB, or take a smaller --image-size"
    )
    assert DECODED not in told.advanced


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_temporary_folder_without_room_is_named(images: Images, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda folder: Usage(GIB, GIB, SPARE_BYTES))
    with keeping(Runtime(pixel_memory_gib=0.0)), pytest.raises(WorkspaceError) as error:
        decoded_pixels(images, SMALL)
    assert f"GiB free in {tempfile.gettempdir()} for decoded images, found 0.2. Free some, or name another folder" in str(error.value)
    assert "TMPDIR" in str(error.value) and DECODED not in told.advanced


def test_inputs_that_do_not_fit_into_memory_are_decoded_as_they_are_needed(images: Images, told: Any) -> None:
    tensors = ImageTensors(images=images, preprocess=SMALL)
    with keeping(Runtime(pixel_memory_gib=0.0)) as shelf:
        assert sum(len(batch.x) for batch in tensors.batches(6)) == len(images)
        assert shelf.sets == {} and DECODED not in told.advanced


def test_a_default_input_has_the_room_that_the_documentation_states() -> None:
    side, runtime = 256, Runtime()
    assert round(runtime.pixel_memory_gib * GIB / (3 * side * side), -3) == 11_000
    assert round(runtime.pixel_disk_gib * GIB / (3 * side * side), -3) == 109_000
