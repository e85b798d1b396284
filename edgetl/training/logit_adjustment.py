"""Logits of rare classes, raised after training (Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.1, eq. 9).

Drawn as often as the others, the few images of a rare class are learnt by heart: new images of that class get lower logits, those of
the other classes do not. Where no image is left to see that on, small crops of the training images show it: training makes views of more
of an image only. With 90 ants and 10 bees a student's margins between the two had means of -4.2 and 1.1 on new photos, -3.8 and 0.9 on
crops of a tenth to three tenths, and -4.6 and 4.5 on the training photos themselves (docs/adr/0049).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.core.preprocess import Preprocess
from edgetl.data.pixels import to_input
from edgetl.data.unlabelled import NOBODY
from edgetl.models.heads import head_layer
from edgetl.training.balance import mean_recall
from edgetl.training.student_loss import Views, shrunk

LEAST_AREA, MOST_AREA = 0.1, 0.3  # of an image, that a crop shows; views in training show 0.35 and more
CROPS = 4  # of each image
MOST_IMAGES = 2_000
BATCH = 64  # crops at once
FIRST_EPOCH = 2**31  # for the draws of crops: apart from those of training
STRENGTHS = np.linspace(0, 1, 51)  # 0: as it was; 1: by the whole logarithm of the frequencies


def adjust_logits(model: nn.Module, views: Views, sees: Preprocess, seed: int, device: torch.device) -> float | None:
    """Shift the biases of the head of `model`, in place, by what small crops of the training images show.

    Args:
        model: a classifier [n, 3, s, s] -> logits [n, k], trained on `views`.
        views: the training images, and how classes were balanced.
        sees: its Preprocess.
        seed: of the crops.
        device: where `model` is.

    Returns:
        By how much the rarest class gained on the most frequent one; None where nothing was shifted: classes are balanced, the head has
        no biases, or crops do not show the class (training makes none, or less than half of what could be right of them is).
    """
    layer, classes = head_layer(model), views.balance.classes
    weights = views.balance.class_weights
    if weights is None or views.augment.scale == 1 or layer.bias is None:
        return None
    logits, labels = _on_crops(model.eval(), views, sees, seed, device)
    counts = np.bincount(views.balance.labels, minlength=classes)
    frequencies = np.log(np.maximum(counts, 1) / counts.sum())
    shift = -strength(logits, labels, weights, frequencies) * (frequencies - frequencies.mean())
    right = (logits + torch.from_numpy(shift)).argmax(1) == labels
    if mean_recall(right.numpy(), labels.numpy()) < (1 + 1 / classes) / 2:
        return None
    with torch.no_grad():
        layer.bias += torch.from_numpy(shift.astype(np.float32)).to(layer.bias.device)
    return float(np.ptp(shift))


def strength(logits: Tensor, labels: Tensor, weights: Tensor, frequencies: NDArray[np.float64]) -> float:
    """The factor of the frequencies' logarithms with the least cross-entropy, classes counting alike.

    Args:
        logits: [n, k].
        labels: [n].
        weights: with which classes count alike, float32 [k].
        frequencies: logarithms of the frequencies of the classes, [k].
    """
    losses = [F.cross_entropy(logits - torch.from_numpy(s * frequencies).float(), labels, weight=weights).item() for s in STRENGTHS]
    return float(STRENGTHS[int(np.argmin(losses))])


@torch.no_grad()
def _on_crops(model: nn.Module, views: Views, sees: Preprocess, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits [n, k] and labels [n] of crops of labelled images, on the CPU."""
    train, small = views.train, replace(views.augment, scale=LEAST_AREA, shift=0)
    labelled = np.flatnonzero(train.labels.numpy() != NOBODY)
    chosen = np.random.Generator(np.random.Philox(key=[seed, FIRST_EPOCH])).permutation(labelled)[:MOST_IMAGES]
    found: list[Tensor] = []
    for crop in range(CROPS):
        draws = small.draws(seed, FIRST_EPOCH + crop, len(train))
        draws[:, 0] *= (MOST_AREA - LEAST_AREA) / (1 - LEAST_AREA)
        for start in range(0, len(chosen), BATCH):
            some = chosen[start : start + BATCH]
            crops = small(train.pixels[torch.from_numpy(some)].to(device), draws[some])
            found.append(model(to_input(shrunk(crops, sees.side), sees)).float().cpu())
    return torch.cat(found), train.labels[torch.from_numpy(chosen)].repeat(CROPS)
