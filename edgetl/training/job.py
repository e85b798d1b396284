"""The inputs of a training: the network, the images, the loss, and the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.settings import DistillSettings, FinetuneSettings

FEWEST_IMAGES = 2  # images in a step: a BatchNorm on a map of one pixel has no statistics of one


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that share a learning rate, given as a factor on the recipe's; frozen until `begins`, a share of the epochs."""

    parameters: Sequence[nn.Parameter]
    scale: float = 1.0
    begins: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long, how fast, in which order."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: float
    seed: int
    patience: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"

    @staticmethod
    def of(s: FinetuneSettings | DistillSettings, images: int) -> Recipe:
        """The recipe that a stage's settings ask for, with `images` training images."""
        s = s.resolved()
        assert s.lr is not None
        return Recipe(
            epochs=s.epochs_for(images),
            batch_size=s.batch_for(images) if isinstance(s, DistillSettings) else s.batch_size,
            lr=s.lr,
            weight_decay=s.weight_decay,
            warmup=s.warmup,
            seed=s.seed,
            patience=s.patience,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """The batch of one step.

    Attributes:
        x: normalized views, float [n, 3, s, s].
        labels: [n].
        round: the epoch or, where batches come again, the one in which this one came first; `places`: of its images in that.
        seed: of the training.
    """

    x: Tensor
    labels: Tensor
    round: int
    places: slice
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The network, the images and the loss of a training.

    Attributes:
        loss: (model, batch) -> scalar.
        score: (outputs [n, k], labels [n]) -> the primary metric, higher is better.
        balanced: its mean over the classes, which chooses the epoch where they are unbalanced; None: `score` does.
        val_groups: of near-duplicates in `val`, int64 [n], which count once for how exactly val can tell; None: none look alike.
        preprocess: normalizes the views, float [n, 3, size, size] in 0..255.
        rounds: after so many epochs the same batches come again; None: new ones every epoch.
        start_counts: the weights before the first epoch may turn out to be the best.
        keep_last: the last weights are taken, unless val has seen ones better by more than its standard error.
        shares: how often each training image is drawn, relative to the others, [n]; None: each once an epoch.
        class_weights: in the loss on val, [k]; None: all images alike.
    """

    title: str
    model: nn.Module
    groups: Sequence[Group]
    train: PixelSet
    val: PixelSet
    augment: Augment
    preprocess: Preprocess
    loss: Callable[[nn.Module, TrainingBatch], Tensor]
    score: Callable[[Tensor, Tensor], float]
    recipe: Recipe
    rounds: int | None = None
    start_counts: bool = False
    keep_last: bool = False
    shares: Tensor | None = None
    class_weights: Tensor | None = None
    balanced: Callable[[Tensor, Tensor], float] | None = None
    val_groups: NDArray[np.int64] | None = None
