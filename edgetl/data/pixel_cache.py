"""Decoded images, kept while work on them goes on, so that each is decoded once; within a stated budget.

    with keeping(runtime):
        ...  # `decoded_pixels` of the same images and Preprocess gives the same array again

Up to `Runtime.pixel_memory_gib` they lie in memory, beyond that, up to `Runtime.pixel_disk_gib`, in temporary files without
a name, which go with the process however it ends. What is kept never changes a result.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError, WorkspaceError
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair
from edgetl.core.progress import say, track
from edgetl.core.threads import in_threads
from edgetl.data.images import ImageRef, Images
from edgetl.settings import Runtime

GIB = 1 << 30
SPARE_BYTES = 256 << 20  # of the temporary folder, left to others
Pixels = NDArray[np.uint8]


@dataclass(kw_only=True)
class PixelCache:
    """Decoded sets of images, and how much room they take.

    Attributes:
        memory_bytes, disk_bytes: the budget.
        sets: what is kept, by content of the images and Preprocess.
        in_memory, on_disk: bytes taken so far.
    """

    memory_bytes: int
    disk_bytes: int
    sets: dict[str, Pixels] = field(default_factory=dict)
    in_memory: int = 0
    on_disk: int = 0

    @staticmethod
    def of(runtime: Runtime) -> PixelCache:
        """An empty one with the budget of `runtime`."""
        return PixelCache(memory_bytes=int(runtime.pixel_memory_gib * GIB), disk_bytes=int(runtime.pixel_disk_gib * GIB))

    def fits_memory(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape still fits into memory."""
        return self.in_memory + int(np.prod(shape)) <= self.memory_bytes

    def room(self, shape: tuple[int, ...]) -> Pixels:
        """A new array in memory or, where that would take too much of it, in a temporary file.

        Raises:
            WorkspaceError: beyond the budget, or more than the temporary folder has room for. Nothing has been decoded yet.
        """
        size = int(np.prod(shape))
        if self.fits_memory(shape):
            self.in_memory += size
            return np.empty(shape, dtype=np.uint8)
        if self.on_disk + size > self.disk_bytes:
            raise WorkspaceError(
                f"expected decoded images to fit into {self.disk_bytes / GIB:g} GiB of temporary files, found that they take "
                f"{(self.on_disk + size) / GIB:.1f}. Allow more with --pixel-disk GIB, or take a smaller --image-size"
            )
        say(f"data: the decoded images ({size / GIB:.1f} GiB) are kept in a temporary file")
        self.on_disk += size
        return _in_file(shape, size)


_shelf: ContextVar[PixelCache | None] = ContextVar("edgetl_shelf", default=None)


@contextmanager
def keeping(runtime: Runtime) -> Iterator[PixelCache]:
    """Keep decoded images until the end of the block, or of the outermost block of this kind."""
    if (outer := _shelf.get()) is not None:
        yield outer
        return
    shelf = PixelCache.of(runtime)
    token = _shelf.set(shelf)
    try:
        yield shelf
    finally:
        _shelf.reset(token)
        shelf.sets.clear()


def decoded_pixels(images: Images, preprocess: Preprocess) -> Pixels:
    """Every image decoded, resized and cut to `resize`, in the order of `images.refs`: uint8 [n, channels, *resize].

    That is a square as large as the shorter side, or another rectangle where the Preprocess asks for one; the center view that
    the network sees is `center` of it.

    Raises:
        InputError: a file that is gone or does not decode (named).
        WorkspaceError: no room for them.
    """
    shelf, key = _shelf.get() or PixelCache.of(Runtime()), key_of(images, preprocess)
    if key not in shelf.sets:
        shelf.sets[key] = _filled(images, preprocess, shelf.room(_shape(images, preprocess)))
    return shelf.sets[key]


def kept_squares(images: Images, preprocess: Preprocess) -> Pixels | None:
    """`decoded_pixels`, if something is being kept at all and memory has room for it; None means: decode them as they are needed."""
    shelf = _shelf.get()
    if shelf is None or not (key_of(images, preprocess) in shelf.sets or shelf.fits_memory(_shape(images, preprocess))):
        return None
    return decoded_pixels(images, preprocess)


def _shape(images: Images, preprocess: Preprocess) -> tuple[int, int, int, int]:
    return (len(images), preprocess.channels, *pair(preprocess.resize))


def center(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """Of `decoded_pixels`, exactly what `preprocess.pixels` gives: uint8 [n, channels, *size], without copying."""
    (top, left), (height, width) = inset_of(preprocess), pair(preprocess.size)
    return pixels[..., top : top + height, left : left + width]


def inset_of(preprocess: Preprocess) -> tuple[int, int]:
    """How far the center view lies from the top and the left of `resize`; rounded as `Preprocess.crop` rounds, half to even."""
    (rows, columns), (height, width) = pair(preprocess.resize), pair(preprocess.size)
    return round((rows - height) / 2), round((columns - width) / 2)


def square(image: Pixels, preprocess: Preprocess) -> Pixels:
    """uint8 [height, width, channels] that covers `resize` -> [*resize, channels] in which the center view lies at `inset_of`."""
    sides = zip(image.shape[:2], pair(preprocess.resize), pair(preprocess.size), inset_of(preprocess), strict=True)
    rows, columns = (
        slice(start, start + side) for side, start in ((side, round((length - size) / 2) - inset) for length, side, size, inset in sides)
    )
    return image[rows, columns]


def key_of(images: Images, preprocess: Preprocess) -> str:
    """The key of a set of squares: content and order of the images, and how they are decoded and resized."""
    plain = replace(preprocess, mean=(0.0,) * preprocess.channels, std=(1.0,) * preprocess.channels)
    return digest_of([images.hashes, plain])


def _filled(images: Images, preprocess: Preprocess, pixels: Pixels) -> Pixels:
    def fill(row: tuple[int, ImageRef]) -> None:
        number, ref = row
        try:
            pixels[number] = np.moveaxis(square(preprocess.uncropped(images.source.read(ref.where)), preprocess), -1, 0)
        except InputError as error:
            raise InputError(f"{ref.where}: {error}") from error

    with track("decode images", total=len(images), unit="image") as bar:
        for _ in in_threads(fill, enumerate(images.refs)):
            bar.advance()
    return pixels


def _in_file(shape: tuple[int, ...], size: int) -> Pixels:
    """An array in a temporary file, its room reserved: a write to a full disk would kill the process."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise WorkspaceError(
            f"expected {(size + SPARE_BYTES) / GIB:.1f} GiB free in {folder} for decoded images, found {free / GIB:.1f}. "
            "Free some, or name another folder in the environment variable TMPDIR"
        )
    with tempfile.TemporaryFile(prefix="edgetl-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
