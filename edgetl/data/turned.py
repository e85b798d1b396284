"""Copies that were mirrored or turned by quarters: found by what perceptual hashes and thumbnails of a turned picture would be.

The eight orientations of one picture need no second look at it. Mirroring exchanges nothing in its frequencies (discrete cosine
transform) but the signs of those that are odd in one direction; turning by 90 degrees also exchanges the two directions. A perceptual
hash holds these signs. Signs of frequencies that are even both ways stay as they are, so that few pairs need all eight
(docs/adr/0048-mirrored-and-turned-copies.md, which holds the measurements behind the numbers here).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edgetl.data.random_pairs import Indices
from edgetl.data.thumbs import Pictures, Thumbs

ROWS = 256  # of the table of distances, at a time
PAIRS = 4096  # whose whole hashes are compared at a time
EVEN_SHARE = 0.25  # of the signs that no mirroring changes, those that may differ; copies: as many as of all signs
Signs = NDArray[np.float32]  # +1 and -1


@dataclass(frozen=True)
class Orientation:
    """One of the seven other ways to hold a picture: the two directions exchanged, then upside down, then left for right."""

    transposed: bool
    down: bool
    right: bool

    def picture(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pictures [..., side, side], held that way."""
        held = np.swapaxes(pixels, -1, -2) if self.transposed else pixels
        held = held[..., ::-1, :] if self.down else held
        return held[..., ::-1] if self.right else held

    def signs(self, signs: Signs) -> Signs:
        """Signs of frequencies [..., side, side], as those of `picture`."""
        odd = np.where(np.arange(signs.shape[-1]) % 2, -1, 1).astype(np.float32)
        held = np.swapaxes(signs, -1, -2) if self.transposed else signs
        held = held * odd[:, None] if self.down else held
        return held * odd if self.right else held


TURNED = tuple(Orientation(*how) for how in product((False, True), repeat=3) if any(how))


def turned_copies(signs: Signs, gray: Pictures, classes: Sequence[str | None], bits: float, bound: float) -> Indices:
    """Int64 [k, 2], the smaller index first: pictures of one class, or of which one has none, that are copies if one is turned.

    Args:
        signs: of the perceptual hash of each, [n, HASH_SIDE ** 2].
        gray: thumbnails, [n, SIDE, SIDE].
        classes: of each.
        bits: of the hashes that may differ.
        bound: likeness of the thumbnails, one of them turned, from which on the two are copies.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    side = math.isqrt(signs.shape[1])
    for how, pairs in turned_pairs(signs.reshape(-1, side, side), bits):
        same = np.array([None in (classes[a], classes[b]) or classes[a] == classes[b] for a, b in pairs.tolist()], dtype=bool)
        pairs = pairs[same]
        if not len(pairs):
            continue
        both = Thumbs.of(np.concatenate([gray[pairs[:, 0]], how.picture(gray[pairs[:, 1]])]))
        rows = np.arange(len(pairs))
        found.append(pairs[both.likeness(rows, rows + len(pairs)) >= bound])
    return np.concatenate(found)


def turned_pairs(signs: Signs, bits: float) -> Iterator[tuple[Orientation, Indices]]:
    """The pairs [k, 2] of which the second, held another way, differs from the first in at most `bits` signs; for each way.

    Args:
        signs: of frequencies, [n, side, side], from the lowest on.
        bits: that may differ.
    """
    for transposed, pairs in _candidates(signs):
        for how in (how for how in TURNED if how.transposed == transposed):
            yield how, pairs[differing(signs, pairs, how) <= bits]


def differing(signs: Signs, pairs: Indices, how: Orientation) -> NDArray[np.float64]:
    """float64 [k]: how many signs of the first of each pair differ from those of the second, held that way."""
    found = [np.empty(0)]
    for start in range(0, len(pairs), PAIRS):
        one, other = signs[pairs[start : start + PAIRS, 0]], how.signs(signs[pairs[start : start + PAIRS, 1]])
        found.append((signs[0].size - (one * other).sum(axis=(1, 2), dtype=np.float64)) / 2)
    return np.concatenate(found)


def _candidates(signs: Signs) -> Iterator[tuple[bool, Indices]]:
    """Pairs [k, 2], the smaller index first, that agree in the signs that no mirroring changes; as they are, and transposed."""
    even = signs[:, ::2, ::2]
    flat, count = even.reshape(len(even), -1), even[0].size
    least = count * (1 - 2 * EVEN_SHARE)
    for transposed in (False, True):
        held = np.ascontiguousarray(np.swapaxes(even, 1, 2)).reshape(len(even), -1) if transposed else flat
        found = [np.empty((0, 2), dtype=np.int64)]
        for start in range(0, len(flat), ROWS):
            one, other = np.nonzero(flat[start : start + ROWS] @ held[start:].T >= least)
            ahead = one < other
            found.append(np.stack([start + one[ahead], start + other[ahead]], axis=1))
        yield transposed, np.concatenate(found)
