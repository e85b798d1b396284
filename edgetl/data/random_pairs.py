"""How alike random pairs of a set are, and how alike unrelated ones can be by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.data.thumbs import Numbers

ALIKE_LIKENESS = 0.5  # typical likeness of two images of a set from which on they are alike by nature; of unrelated photos it is 0.23
COPY = 0.85  # likeness of copies in any set of photos: of 398 photos no two unrelated ones reach 0.71
EXPECTED = 0.1  # pairs of unrelated images beyond the bound, in the whole set, as the tail is extrapolated; counted: 0.4
TAIL = (0.8, 0.95)  # quantiles of random pairs that give the tail's scale: up to 5% of them may be copies
FEWEST_IMAGES = 10  # images, below which a set does not say how alike its images are
SAMPLE_PAIRS = 4000  # random pairs
Indices = NDArray[np.int64]


def some_pairs(count: int) -> tuple[Indices, Indices]:
    """All pairs of `images` images, or SAMPLE random ones: two arrays of indices, [k]."""
    if count * (count - 1) / 2 <= SAMPLE_PAIRS:
        one, other = np.triu_indices(count, 1)
        return one.astype(np.int64), other.astype(np.int64)
    rng = np.random.Generator(np.random.Philox(key=[count, 7]))
    one = rng.integers(0, count, SAMPLE_PAIRS)
    return one, (one + rng.integers(1, count, SAMPLE_PAIRS)) % count


@dataclass(frozen=True)
class Tail:
    """The likeness of unrelated pairs, extrapolated: an exponential tail of Fisher's z (Pickands 1975, peaks over a threshold).

    None: not known.
    """

    found: Numbers | None

    def __call__(self, pairs: float) -> float:
        """The likeness that EXPECTED of so many unrelated pairs reach."""
        if self.found is None or not len(self.found):
            return COPY
        z = np.arctanh(np.clip(self.found, -0.9999, 0.9999))
        low, high = np.quantile(z, TAIL)
        scale = (high - low) / math.log((1 - TAIL[0]) / (1 - TAIL[1]))
        return float(np.tanh(high + scale * math.log(max(1.0, (1 - TAIL[1]) * pairs / EXPECTED))))
