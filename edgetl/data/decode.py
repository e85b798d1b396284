"""Decoded images for training, and the random views that fit them."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say, track
from edgetl.data.augment import Augment
from edgetl.data.hashes import WORKERS
from edgetl.data.images import ImageRef, Images
from edgetl.data.pixels import PixelSet

RAM_BYTES = 2 << 30
SMALL_PIXELS = 64  # up to here images are shifted, not cropped at random scale


def pixel_set(images: Images, preprocess: Preprocess, *, margin: bool, ram_bytes: int = RAM_BYTES) -> PixelSet:
    """Every image decoded once, in the order of `images.refs`.

    Args:
        images: what to decode.
        preprocess: how.
        margin: False gives exactly `preprocess.pixels`, side = size. True gives the center square of side
            `preprocess.resize`, from which random views are cropped.
        ram_bytes: above that, the pixels lie in a temporary file that goes with them.

    Returns:
        PixelSet: pixels uint8 [n, 3, side, side].

    Raises:
        InputError: a file that is gone or does not decode (named).
    """
    view = replace(preprocess, size=preprocess.resize) if margin else preprocess
    pixels = _room((len(images), 3, view.size, view.size), ram_bytes)

    def fill(row: tuple[int, ImageRef]) -> None:
        number, ref = row
        data = images.source.read(ref.where)
        try:
            pixels[number] = np.moveaxis(view.pixels(data), -1, 0)
        except InputError as error:
            raise InputError(f"{ref.where}: {error}") from error

    with track("decode images", total=len(images), unit="image") as bar, ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(fill, enumerate(images.refs)):
            bar.advance()
    return PixelSet(torch.from_numpy(pixels), torch.from_numpy(images.labels.copy()))


def _room(shape: tuple[int, int, int, int], ram_bytes: int) -> NDArray[np.uint8]:
    """An array in memory or, where that would take too much of it, in a temporary file without a name."""
    size = int(np.prod(shape))
    if size <= ram_bytes:
        return np.empty(shape, dtype=np.uint8)
    say(f"decoded images take {size / 2**30:.1f} GiB: they are kept in a temporary file")
    with tempfile.TemporaryFile(prefix="edgetl-") as file:
        file.truncate(size)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)


def augment_for(images: Images, preprocess: Preprocess, choice: Literal["auto", "none"], flip: bool | None) -> Augment:
    """The random views that fit the images: small ones are shifted, photos are cropped at random scale.

    Args:
        images: say whether a mirrored image keeps its label.
        preprocess: says the size of the views.
        choice: "none" gives the plain center view; its pixels must come without margin.
        flip: overrides `images.flip`; None leaves it.
    """
    size = preprocess.size
    mirrored = images.flip if flip is None else flip
    match choice:
        case "none":
            return Augment(size=size)
        case "auto" if size <= SMALL_PIXELS:
            # digits touch the edges of their images: an eighth would cut strokes off
            return Augment(size=size, shift=size // 10 if images.origin == "digits" else size // 8, flip=mirrored)
        case "auto":
            return Augment(size=size, scale=0.35, flip=mirrored, light=0.3)
