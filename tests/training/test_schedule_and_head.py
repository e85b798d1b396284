"""Laws of the learning rate, and of a head trained on frozen features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.pixels import PixelSet
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.schedule import cosine


def test_the_rate_rises_linearly_peaks_and_falls_to_zero() -> None:
    assert cosine(0.05, 0.1) == pytest.approx(0.5)
    assert cosine(0.1, 0.1) == pytest.approx(1.0)
    assert cosine(0.55, 0.1) == pytest.approx(0.5)
    assert cosine(1.0, 0.1) == pytest.approx(0.0)
    falling = [cosine(p, 0.1) for p in np.linspace(0.1, 1, 50)]
    assert falling == sorted(falling, reverse=True)


class Counting(nn.Module):
    """A body that counts the images it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return self.weight * x.mean(dim=(2, 3))


def test_features_are_computed_once_and_the_body_stays_as_it_is() -> None:
    labels = torch.arange(40) % 2
    pixels = (labels.view(-1, 1, 1, 1) * 120 + 40).expand(40, 3, 8, 8).to(torch.uint8)
    data, body, head = PixelSet(pixels, labels), Counting(), nn.Linear(3, 2)
    best = fit_head(
        body,
        head,
        train=data,
        val=data,
        preprocess=Preprocess(size=8, resize=8),
        loss=nn.functional.cross_entropy,
        score=lambda outputs, truth: (outputs.argmax(1) == truth).float().mean().item(),
        recipe=HeadRecipe(epochs=30, lr=0.05, weight_decay=0.0, batch_size=16, seed=0),
        device=torch.device("cpu"),
    )
    assert best == 1.0
    assert body.seen == 2 * len(data)
    assert body.weight.item() == 1.0
