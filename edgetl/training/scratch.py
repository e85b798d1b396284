"""A baseline: the same network from random weights, trained for a small share of the time. It shows the value of pretraining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.training.fit import Fit, fit
from edgetl.training.job import Group, Recipe, TrainingJob

WORK_SHARE = 1 / 4  # of the work of fine-tuning
PASSES = 3  # a training step is worth as many forward passes
SMALL_SIDE = 64  # px: larger images are shrunk, for many more views in the same time
MOST_EPOCHS, FEWEST_USED = 30, 500


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """How it did on val, and what it had: `views` training views of `image_size` pixels, in the epochs that really ran."""

    fit: Fit
    views: int
    image_size: int


def work_within(passes: float, images: int, size: int, small: int) -> tuple[int, int]:
    """Epochs, and how many of `images` images of `small` pixels, that cost `WORK_SHARE` of `passes` forward passes of `size` pixels.

    Fewer epochs before fewer images; one epoch of `FEWEST_USED` images, or of all, at least.
    """
    views = WORK_SHARE * passes / PASSES * (size / small) ** 2
    epochs = max(1, min(MOST_EPOCHS, int(views / max(1, images))))
    return epochs, images if epochs > 1 else min(images, max(FEWEST_USED, int(views)))


def from_scratch(
    model: nn.Module,
    *,
    train: PixelSet,
    val: PixelSet,
    augment: Augment,
    preprocess: Preprocess,
    size: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    score: Callable[[Tensor, Tensor], float],
    recipe: Recipe,
    shares: Tensor | None,
    class_weights: Tensor | None,
    balanced: Callable[[Tensor, Tensor], float] | None,
    folder: Path,
    device: torch.device,
    val_groups: NDArray[np.int64] | None = None,
) -> Scratch:
    """Train `model`, built for `size` pixels, on the same images, shrunk; continues what a killed run left in `folder`.

    It is judged as the teacher is: loss, score, `class_weights` [k] and `val_groups` [n] are the teacher's own; `shares` [n] balance
    `train` the same way.

    Raises:
        DivergedError: its loss or weights are not finite any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small = preprocess.at(size)
    side = round(train.pixels.shape[-1] * size / preprocess.side)
    job = TrainingJob(
        title="baseline from scratch",
        model=model,
        groups=[Group(parameters=list(model.parameters()))],
        train=train.shrunk(side),
        val=val.shrunk(size),
        augment=replace(augment, size=size),
        preprocess=small,
        loss=lambda net, batch: loss(net(batch.x), batch.labels),
        score=score,
        recipe=recipe,
        shares=shares,
        class_weights=class_weights,
        balanced=balanced,
        val_groups=val_groups,
    )
    result = fit(job, folder, device)
    return Scratch(fit=result, views=result.epochs * len(train), image_size=size)
