"""Unbalanced classes: a network that never names the rare one is right most of the time. So the rare one counts for more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNBALANCED = 1.5  # times as many images in the largest class as in the smallest
Balance = Literal["none", "sampling", "loss"]


def balance_for(wanted: Literal["auto", "none", "sampling", "loss"], labels: NDArray[np.int64], classes: int) -> Balance:
    """The method that `wanted` stands for with these labels: `auto` is sampling if the classes are unbalanced."""
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


@dataclass(frozen=True, kw_only=True)
class Balancing:
    """The treatment of rare classes in one training.

    Attributes:
        kind: none, sampling or loss.
        labels: of the training images, [n].
        classes: k.
    """

    kind: Balance
    labels: NDArray[np.int64]
    classes: int

    @property
    def shares(self) -> Tensor | None:
        """How often each image is drawn, [n]; None: each once an epoch."""
        return image_shares(self.labels, self.classes) if self.kind == "sampling" else None

    @property
    def class_weights(self) -> Tensor | None:
        """Weights with which all classes count alike, [k]; None where they are balanced."""
        return None if self.kind == "none" else torch.from_numpy(class_weights(self.labels, self.classes))

    @property
    def loss_weights(self) -> Tensor | None:
        """The weights of the classes in the loss, [k]; all are equal if rare images are drawn more often."""
        return self.class_weights if self.kind == "loss" else None


def balancing(wanted: Literal["auto", "none", "sampling", "loss"], labels: Tensor, classes: int) -> Balancing:
    """What `wanted` means for a training on images of these labels."""
    return Balancing(kind=balance_for(wanted, labels.numpy(), classes), labels=labels.numpy(), classes=classes)


def mean_recall(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """[n], [n] -> the share of each class's images that are right, averaged over the classes there are (balanced accuracy)."""
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def worth_of(labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None, *, balanced: bool = False) -> float:
    """The effective number of images: so many independent images of balanced classes would give the same standard error.

    Args:
        labels: [n].
        groups: [n], which images look alike: those of one class and group count once, which is the least that they can tell. None: none.
        balanced: the score is the share of all images; else it is the mean recall, which is as exact as that of so many images:
            classes times the harmonic mean of their counts.
    """
    if groups is not None:
        labels = np.unique(np.stack([groups, labels]), axis=1)[1]
    if balanced:
        return float(len(labels))
    counts = np.unique(labels, return_counts=True)[1]
    return float(len(counts) ** 2 / (1 / counts).sum())
