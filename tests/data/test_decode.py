"""Decoded images for training are what the Preprocess gives; views fit the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings


@pytest.fixture
def images(photos: Callable[..., Path]) -> Images:
    return open_images(str(photos({"ants": 10, "bees": 10})), DataSettings())


def test_pixels_are_those_of_the_preprocess(images: Images, told: Any) -> None:
    preprocess = Preprocess(size=16, resize=20)
    found = pixel_set(images, preprocess, margin=False)
    expected = np.stack([preprocess.pixels(images.read(i)) for i in range(len(images))]).transpose(0, 3, 1, 2)
    assert found.pixels.dtype == torch.uint8 and np.array_equal(found.pixels.numpy(), expected)
    assert found.labels.tolist() == images.labels.tolist() and told.advanced["decode images"] == len(images)


def test_margin_keeps_the_square_around_the_center_view(images: Images) -> None:
    preprocess = Preprocess(size=16, resize=20)
    wide, plain = pixel_set(images, preprocess, margin=True), pixel_set(images, preprocess, margin=False)
    assert wide.pixels.shape == (20, 3, 20, 20)
    assert torch.equal(wide.pixels[:, :, 2:18, 2:18], plain.pixels)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_to_squash_and_to_pad_leave_no_margin_and_views_are_of_the_whole_photo(images: Images, fit: Literal["squash", "pad"]) -> None:
    preprocess = Preprocess(size=16, resize=20).fitted(fit)
    wide, plain = pixel_set(images, preprocess, margin=True), pixel_set(images, preprocess, margin=False)
    assert torch.equal(wide.pixels, plain.pixels)
    expected = np.stack([preprocess.pixels(images.read(i)) for i in range(len(images))]).transpose(0, 3, 1, 2)
    assert np.array_equal(plain.pixels.numpy(), expected)
    augment = augment_for(images, preprocess, "auto", None)
    assert augment(wide.pixels, augment.draws(0, 0, len(images))).shape == (len(images), 3, 16, 16)


def test_a_file_that_broke_since_is_named(images: Images) -> None:
    where = images.refs[3].where
    (images.source.root / where).write_bytes(b"x")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=f"{where}: expected an image"):
        pixel_set(images, Preprocess(size=16, resize=16), margin=False)


def test_no_images_give_an_empty_set(images: Images) -> None:
    from dataclasses import replace

    assert pixel_set(replace(images, refs=()), Preprocess(size=16, resize=16), margin=False).pixels.shape == (0, 3, 16, 16)


def test_views_fit_the_image_size_and_the_data(images: Images) -> None:
    digits, small, large = open_images(None, DataSettings()), Preprocess(size=32, resize=32), Preprocess(size=224, resize=256)
    assert (augment_for(digits, small, "auto", None).shift, augment_for(digits, small, "auto", None).flip) == (3, False)
    assert (augment_for(images, small, "auto", None).shift, augment_for(images, small, "auto", None).flip) == (4, True)
    photo = augment_for(images, large, "auto", None)
    assert (photo.scale, photo.flip, photo.light, photo.size) == (0.35, True, 0.3, 224)
    assert augment_for(digits, small, "auto", True).flip and not augment_for(images, small, "auto", False).flip


def test_none_gives_the_plain_center_view(images: Images) -> None:
    preprocess = Preprocess(size=16, resize=20)
    augment = augment_for(images, preprocess, "none", True)
    pixels = pixel_set(images, preprocess, margin=False).pixels
    assert torch.equal(augment(pixels, augment.draws(0, 3, len(pixels))), pixels.float())
