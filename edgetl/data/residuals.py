"""How alike two pictures of one kind of thing are: what is left of each when the picture that they share is taken away.

Photos of one kind of part under a fixed camera show mostly the part. So each is laid over the mean picture of the set, at a few sizes
and at every place, to parts of a pixel (normalized cross-correlation, Lewis 1995, by FFT; the top of a parabola), and what the mean
explains there is taken away by least squares.
What is left lies in the frame of the mean picture: a crop, a shifted frame and the photo they are of then lie over each other, and two
photos are compared by the correlation of what is left where both show something (docs/adr/0045-copies-among-pictures-of-one-kind.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import shift

from edgetl.data.random_pairs import Indices
from edgetl.data.thumbs import SIDE, Numbers, Pictures, banded

SIZES = range(SIDE, 24, -1)  # pixels of the mean picture that an image covers each way: crops down to 78% of a side
SLACK = 4  # pixels that a picture of the whole size may be shifted each way
FINE, COARSE = 0.4, 1.5  # of the band, pixels of a thumbnail: what tells two parts apart is finer than what they share
EDGE = 1  # pixels at a picture's edge that say nothing: the blurs do not know what lies beyond
ROUNDS = 2  # of registration: the first mean picture is blurred where parts do not lie in the same place
ROWS = 512  # pictures at a time


@dataclass(frozen=True)
class Residuals:
    """What the mean picture leaves of each picture, in its frame.

    Attributes:
        left: float32 [n, SIDE * SIDE]; 0 where the picture shows nothing.
        shown: bool [n, SIDE * SIDE], where it shows something.
    """

    left: Pictures
    shown: NDArray[np.bool_]

    @staticmethod
    def of(gray: Pictures) -> Residuals:
        """Of pictures [n, SIDE, SIDE], gray values."""
        mean = _band(gray).mean(axis=0)
        for _ in range(ROUNDS):
            found = [_registered(gray[start : start + ROWS], mean) for start in range(0, len(gray), ROWS)]
            placed, shown = (np.concatenate(each) for each in zip(*found, strict=True))
            mean = placed.sum(axis=0) / np.maximum(shown.sum(axis=0), 1)
        return Residuals(left=_unexplained(placed, shown, mean), shown=shown.reshape(len(gray), -1))

    def likeness(self, one: Indices, other: Indices) -> Numbers:
        """float64 [k]: the correlation of what is left of `one[k]` and `other[k]` where both show something, in [-1, 1]."""
        return np.concatenate([np.empty(0), *(self._likeness(one[rows], other[rows]) for rows in _slices(len(one)))])

    @property
    def signs(self) -> Pictures:
        """float32 [n, SIDE * SIDE], of length 1: what candidates are found by."""
        return np.asarray(self.left / (np.linalg.norm(self.left, axis=1, keepdims=True) + 1e-6), dtype=np.float32)

    def _likeness(self, one: Indices, other: Indices) -> Numbers:
        both = self.shown[one] & self.shown[other]
        first, second = (self.left[each].astype(np.float64) * both for each in (one, other))
        size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        return np.asarray((first * second).sum(axis=1) / np.maximum(size, 1e-6))


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))


def _band(gray: Pictures) -> Pictures:
    """The band of frequencies by which parts are told apart."""
    return banded(gray, FINE, COARSE)


def _registered(gray: Pictures, mean: Pictures) -> tuple[Pictures, NDArray[np.bool_]]:
    """The bands of pictures [k, SIDE, SIDE] in the frame of the mean picture where they fit best, and where they show something."""
    best, size_of, corner = np.full(len(gray), -2.0), np.zeros(len(gray), dtype=np.int64), np.zeros((len(gray), 2))
    spectrum = rfft2(mean)
    for size in SIZES:
        bands, slack = _band(_resized(gray, size)), SLACK if size == SIDE else 0
        fits = _fits(bands[:, slack : size - slack, slack : size - slack], mean, spectrum)
        at = fits.reshape(len(gray), -1).argmax(axis=1)
        found = fits.reshape(len(gray), -1)[np.arange(len(gray)), at]
        for index in np.flatnonzero(found > best):
            down, right = divmod(int(at[index]), fits.shape[2])
            size_of[index] = size
            corner[index] = down - slack + _beside(fits[index, :, right], down), right - slack + _beside(fits[index, down], right)
        best = np.maximum(best, found)
    placed, shown = np.zeros_like(gray), np.zeros(gray.shape, dtype=np.bool_)
    for size in SIZES:
        here = np.flatnonzero(size_of == size)
        whole = np.round(corner[here])
        for index, picture, (down, right), part in zip(here, _resized(gray[here], size), whole, corner[here] - whole, strict=True):
            band = _band(shift(picture, part, order=3, mode="nearest")[None])[0]
            _place(band, int(down), int(right), placed[index], shown[index])
    return placed, shown


def _beside(fits: Numbers, at: int) -> float:
    """How far from the best whole pixel the best place lies, in [-0.5, 0.5]: the top of the parabola through it and its neighbours."""
    if not 0 < at < len(fits) - 1:
        return 0.0
    before, here, after = fits[at - 1 : at + 2]
    curve = before - 2 * here + after
    return float(np.clip((before - after) / (2 * curve), -0.5, 0.5)) if curve < 0 else 0.0


def _resized(gray: Pictures, size: int) -> Pictures:
    """The whole of each picture at `size` x `size` pixels (triangle filter)."""
    at = (np.arange(size) + 0.5) * SIDE / size - 0.5
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(SIDE)) * size / SIDE)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray(weights @ gray @ weights.T, dtype=np.float32)


def _fits(cores: Pictures, mean: Pictures, spectrum: NDArray[np.complex64]) -> Numbers:
    """[k, places, places]: the correlation of each core with what lies under it of the mean picture."""
    side, count = cores.shape[1], SIDE - cores.shape[1] + 1
    flat = cores - cores.mean(axis=(1, 2), keepdims=True)
    padded = np.zeros((len(cores), SIDE, SIDE), dtype=np.float32)
    padded[:, :side, :side] = flat
    products = irfft2(np.conj(rfft2(padded)) * spectrum, s=(SIDE, SIDE))[:, :count, :count]
    windows = np.lib.stride_tricks.sliding_window_view(mean.astype(np.float64), (side, side))
    spread = windows.std(axis=(2, 3)) * side
    own = np.sqrt((flat.astype(np.float64) ** 2).sum(axis=(1, 2)))
    return np.asarray(products / np.maximum(own[:, None, None] * spread, 1e-6))


def _place(band: Pictures, down: int, right: int, placed: Pictures, shown: NDArray[np.bool_]) -> None:
    """Write what of `band`, but its outermost pixels, lies in the frame if its corner lies at (down, right), which may be negative."""
    rows, columns = (slice(max(0, start + EDGE), min(SIDE, start + len(band) - EDGE)) for start in (down, right))
    placed[:], shown[:] = 0, False
    placed[rows, columns] = band[rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]
    shown[rows, columns] = True


def _unexplained(placed: Pictures, shown: NDArray[np.bool_], mean: Pictures) -> Pictures:
    """float32 [n, SIDE * SIDE]: what least squares on `_controls` leaves."""
    controls = _controls(mean)
    count = len(controls)
    products = (controls[:, None] * controls).reshape(count**2, -1)
    left = []
    for rows in _slices(len(placed)):
        where, values = shown[rows].reshape(-1, SIDE * SIDE), placed[rows].reshape(-1, SIDE * SIDE)
        grams = (where @ products.T).reshape(-1, count, count) + 1e-6 * np.eye(count)
        weights = np.linalg.solve(grams, (values @ controls.T)[..., None])[..., 0]
        left.append(((values - weights @ controls) * where).astype(np.float32))
    return np.concatenate(left)


def _controls(mean: Pictures) -> Numbers:
    """[8, SIDE * SIDE]: the mean picture, and how it changes where it is shifted by less than a pixel, blurred or enlarged a little."""
    slopes = np.gradient(mean)
    (down_down, down_right), (_, right_right) = (np.gradient(slope) for slope in slopes)
    at = (np.arange(SIDE) - (SIDE - 1) / 2) / SIDE
    enlarged = at[:, None] * slopes[0] + at * slopes[1]
    found = np.stack([np.ones_like(mean), mean, *slopes, down_down, down_right, right_right, enlarged])
    return np.asarray(found.reshape(len(found), -1), dtype=np.float64)
