"""Decoded images for training, and the random views that fit them."""

from __future__ import annotations

from typing import Literal

import torch

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.images import Images
from edgetl.data.pixel_cache import center, decoded_pixels
from edgetl.data.pixels import PixelSet

SMALL_PIXELS = 64  # up to here images are shifted, not cropped at random scale


def pixel_set(images: Images, preprocess: Preprocess, *, margin: bool) -> PixelSet:
    """Every image in the order of `images.refs`; decoded once, where `edgetl.data.pixel_cache` keeps them.

    Args:
        images: what to decode.
        preprocess: how.
        margin: False gives exactly `preprocess.pixels`, side = size. True gives the square of side `preprocess.resize`
            around that, from which random views are cropped; to squash and to pad leave none around it.

    Returns:
        PixelSet: pixels uint8 [n, 3, side, side].

    Raises:
        InputError: a file that is gone or does not decode (named).
        WorkspaceError: no room for them.
    """
    pixels = decoded_pixels(images, preprocess)
    return PixelSet(torch.from_numpy(pixels if margin else center(pixels, preprocess)), torch.from_numpy(images.labels.copy()))


def augment_for(images: Images, preprocess: Preprocess, choice: Literal["auto", "none"], flip: bool | None) -> Augment:
    """The random views that fit the images: small ones are shifted, photos are cropped at random scale.

    Args:
        images: say whether a mirrored image keeps its label.
        preprocess: says the size of the views.
        choice: "none" gives the plain center view; its pixels must come without margin.
        flip: overrides `images.flip`; None leaves it.
    """
    size = preprocess.side
    mirrored = images.flip if flip is None else flip
    match choice:
        case "none":
            return Augment(size=size)
        case "auto" if size <= SMALL_PIXELS:
            # digits touch the edges of their images: an eighth would cut strokes off
            return Augment(size=size, shift=size // 10 if images.origin == "digits" else size // 8, flip=mirrored)
        case "auto":
            return Augment(size=size, scale=0.35, flip=mirrored, light=0.3)
