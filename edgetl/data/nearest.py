"""Candidates: which pictures may be near-duplicates, before any two are compared with care."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS = 256  # of the table of distances, at a time


def nearest_pairs(signs: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """int64 [k, 2], each pair once, the smaller index first: each of the vectors `signs`, of length 1, with the `count` nearest others."""
    wanted = min(count, len(signs) - 1)
    found = []
    for start in range(0, len(signs), ROWS):
        table = signs[start : start + ROWS] @ signs.T
        own = np.arange(start, start + len(table))
        table[np.arange(len(table)), own] = -2
        nearest = np.argpartition(-table, wanted - 1, axis=1)[:, :wanted]
        found.append(np.stack([np.repeat(own, wanted), nearest.ravel()], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0).astype(np.int64)
