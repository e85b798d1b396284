"""Unbalanced classes: a network that never names the rare one is right most of the time. So the rare one counts for more."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNBALANCED = 1.5  # times as many images in the largest class as in the smallest
Balance = Literal["none", "sampling", "loss"]


def balance_for(wanted: Literal["auto", "none", "sampling", "loss"], labels: NDArray[np.int64], classes: int) -> Balance:
    """What `wanted` means for these labels: `auto` is sampling where the classes are unbalanced."""
    if wanted != "auto":
        return wanted
    counts = np.bincount(labels, minlength=classes)
    return "sampling" if counts.max() >= UNBALANCED * max(1, counts.min()) else "none"


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """[n] -> [k]: so heavy that all classes weigh the same, and the mean weight of an image is 1."""
    counts = np.bincount(labels, minlength=classes)
    return np.asarray(len(labels) / (max(1, int((counts > 0).sum())) * np.maximum(counts, 1)), dtype=np.float32)


def image_shares(labels: NDArray[np.int64], classes: int) -> Tensor:
    """[n] -> [n]: how often to draw each image, so that all classes come equally often."""
    return torch.from_numpy(class_weights(labels, classes)[labels])
