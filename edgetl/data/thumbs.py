"""How alike two pictures are, from 1 kB of each: thumbnails laid over each other, and the correlation of what they then show.

A copy may be cropped, shifted or brighter: one thumbnail is laid over the other at a few sizes and at every place near the middle
(normalized cross-correlation, Lewis 1995, "Fast normalized cross-correlation"). Both are band-passed first: sky above ground is alike
in most photos, edges are not. Where all pictures of a set show one kind of thing, `edgetl.data.residuals` compares them instead.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, irfft2, rfft2
from scipy.ndimage import gaussian_filter

SIDE = 32  # of a thumbnail, pixels
CORE = 24  # what is laid over the other
REACH = SIDE - CORE + 1  # places to lay it, each way
ZOOMS = (1.0, 0.95, 0.9)  # what a crop may have left of each side
FINE, COARSE = 0.7, 2.5  # of the band, pixels of a thumbnail
LOW = 6  # lowest frequencies each way: what candidates are found by
CHUNK = 128  # pairs at a time: more do not stay in the cache
Pictures = NDArray[np.float32]  # [n, SIDE, SIDE]
Numbers = NDArray[np.float64]


def thumb_of(image: Image.Image) -> str:
    """The whole image as SIDE x SIDE gray pixels, in base64."""
    return base64.b64encode(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS).tobytes()).decode()


def gray_thumbnails(thumbs: Sequence[str]) -> Pictures:
    """[n, SIDE, SIDE] of gray values, 0 to 255."""
    data = b"".join(base64.b64decode(thumb) for thumb in thumbs)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, SIDE, SIDE).astype(np.float32)


def banded(gray: Pictures, fine: float = FINE, coarse: float = COARSE) -> Pictures:
    """The difference of two Gaussian blurs, whose deviations are given in pixels: a band of frequencies."""
    return np.asarray(gaussian_filter(gray, (0, fine, fine)) - gaussian_filter(gray, (0, coarse, coarse)), dtype=np.float32)


def signatures(gray: Pictures) -> Pictures:
    """float32 [n, LOW ** 2 - 1] of length 1: the lowest frequencies, by how unusual they are in this set. Alike ones point the same way."""
    waves = dctn(gray, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(gray), -1)[:, 1:]
    waves = (waves - waves.mean(axis=0)) / (waves.std(axis=0) + 1e-3)
    return np.asarray(waves / (np.linalg.norm(waves, axis=1, keepdims=True) + 1e-6), dtype=np.float32)


@dataclass(frozen=True)
class Thumbs:
    """Pictures that are laid over each other, two by two.

    Attributes:
        bands: of `banded`, [n, SIDE, SIDE].
        signs: of `signatures`: what candidates are found by.
    """

    bands: Pictures
    signs: Pictures

    @staticmethod
    def of(gray: Pictures) -> Thumbs:
        """Of pictures [n, SIDE, SIDE], gray values."""
        return Thumbs(bands=banded(gray), signs=signatures(gray))

    def likeness(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> Numbers:
        """float64 [k]: the correlation of the pictures `one[k]` and `other[k]` where they fit best, in [-1, 1]."""
        found = [_likeness(self.bands[one[rows]], self.bands[other[rows]]) for rows in _chunks(len(one))]
        return np.concatenate(found) if found else np.empty(0)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _likeness(one: Pictures, other: Pictures) -> Numbers:
    best = np.full(len(one), -1.0)
    for first, second in ((one, other), (other, one)):
        spectrum, spread = rfft2(second), _spread(second)
        for zoom in ZOOMS[1:] if first is other else ZOOMS:
            fits = _correlations(_core(_zoomed(first, zoom)), spectrum, spread)
            best = np.maximum(best, fits.max(axis=(1, 2)))
    return best


def _zoomed(pictures: Pictures, zoom: float) -> Pictures:
    """The middle of each picture, that share of its sides, at the whole size (bilinear)."""
    if zoom == 1:
        return pictures
    at = (np.arange(SIDE) - (SIDE - 1) / 2) * zoom + (SIDE - 1) / 2
    low = np.floor(at).astype(np.int64)
    weights = np.zeros((SIDE, SIDE), dtype=np.float32)
    weights[np.arange(SIDE), low] += 1 - (at - low)
    weights[np.arange(SIDE), np.minimum(low + 1, SIDE - 1)] += at - low
    return np.asarray(weights @ pictures @ weights.T, dtype=np.float32)


def _core(pictures: Pictures) -> Pictures:
    """The middle CORE x CORE pixels."""
    edge = (SIDE - CORE) // 2
    return pictures[:, edge : edge + CORE, edge : edge + CORE]


def _correlations(core: Pictures, spectrum: NDArray[np.complex64], spread: Numbers) -> Numbers:
    """[k, REACH, REACH]: of each core with what lies under it, at each place."""
    flat = core - core.mean(axis=(1, 2), keepdims=True)
    padded = np.zeros((len(core), SIDE, SIDE), dtype=np.float32)
    padded[:, :CORE, :CORE] = flat
    products = irfft2(np.conj(rfft2(padded)) * spectrum, s=(SIDE, SIDE))[:, :REACH, :REACH]
    own = np.sqrt(np.maximum(np.square(flat).sum(axis=(1, 2), dtype=np.float64), 1e-6))
    return np.asarray(products / (own[:, None, None] * spread))


def _spread(pictures: Pictures) -> Numbers:
    """[k, REACH, REACH]: the root of the sum of squares, about their mean, of what lies under a core at each place."""

    def boxes(values: Numbers) -> Numbers:
        total = np.zeros((len(values), SIDE + 1, SIDE + 1))
        total[:, 1:, 1:] = values.cumsum(axis=1).cumsum(axis=2)
        return total[:, CORE:, CORE:] - total[:, :REACH, CORE:] - total[:, CORE:, :REACH] + total[:, :REACH, :REACH]

    exact = pictures.astype(np.float64)
    return np.asarray(np.sqrt(np.maximum(boxes(exact**2) - boxes(exact) ** 2 / CORE**2, 1e-6)))
