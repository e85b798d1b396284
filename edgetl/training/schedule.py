"""Learning rates over time."""

from __future__ import annotations

import math


def cosine(progress: float, warmup: float) -> float:
    """The learning rate as a share of its peak, both arguments shares of the whole training in [0, 1].

    Linear warm-up (Goyal et al. 2017, section 2.2), then half a cosine to zero (Loshchilov & Hutter 2017, SGDR, eq. 5).
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))
