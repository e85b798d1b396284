"""Rare classes get higher logits where crops of their images want it, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.training.balance import Balancing
from edgetl.training.logit_adjustment import adjust_logits, strength
from edgetl.training.student_loss import Views

SEES = Preprocess(size=32, resize=32)
CPU = torch.device("cpu")
COUNTS = np.array([60, 6])


class Brightness(nn.Module):
    """Two logits of the mean brightness, from `threshold` on for the second class."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[-1.0], [1.0]]))
            self.fc.bias.copy_(torch.tensor([threshold, -threshold]))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, s, s] -> [n, 2]."""
        logits: Tensor = self.fc(x.mean(dim=(1, 2, 3)).unsqueeze(1))
        return logits


def views(counts: np.ndarray, *, scale: float = 0.35, apart: float = 60.0, kind: str = "sampling") -> Views:
    """Plain images with noise, those of the second class brighter by `apart`."""
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], counts)
    bright = 100 + apart * labels + rng.normal(0, 15, len(labels))
    pixels = np.clip(bright[:, None, None, None] + rng.normal(0, 10, (len(labels), 3, 36, 36)), 0, 255).astype(np.uint8)
    balance = Balancing(kind=kind, labels=labels, classes=2)  # type: ignore[arg-type]
    train = PixelSet(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels))
    return Views(train=train, augment=Augment(size=32, scale=scale), balance=balance)


def threshold_of(model: Brightness) -> float:
    """The mean input at which both logits are equal."""
    low, high = model.fc.bias.tolist()
    return (low - high) / 2


def test_the_strength_is_that_of_the_least_cross_entropy() -> None:
    rng, labels = np.random.default_rng(1), torch.from_numpy(np.repeat([0, 1, 2], [400, 100, 25]))
    counts, centers = np.array([400, 100, 25]), 2.0 * np.eye(3)
    frequencies = np.log(counts / counts.sum())
    logits = torch.from_numpy(centers[labels.numpy()] + rng.normal(0, 1, (525, 3)) + 0.6 * frequencies).float()
    weights = torch.from_numpy(1 / counts).float()

    def loss(s: float) -> float:
        return F.cross_entropy(logits - torch.from_numpy(s * frequencies).float(), labels, weight=weights).item()

    exact = minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    assert strength(logits, labels, weights, frequencies) == pytest.approx(exact, abs=0.011)
    assert exact == pytest.approx(0.6, abs=0.15)


def test_a_threshold_that_costs_the_rare_class_is_moved_toward_the_middle() -> None:
    given = views(COUNTS)
    means = [float(((given.train.pixels[given.train.labels == c].float() / 255 - 0.45) / 0.225).mean()) for c in (0, 1)]
    model = Brightness(means[1] - 0.1)  # nearly all of the rare class is beyond it
    before = threshold_of(model)
    gained = adjust_logits(model, given, SEES, 0, CPU)
    assert gained is not None and gained > 0
    assert sum(means) / 2 - 0.3 < threshold_of(model) < before
    assert before - threshold_of(model) == pytest.approx(gained / 2, abs=1e-5)


def test_the_same_seed_gives_the_same_bits() -> None:
    found = []
    for _ in range(2):
        adjust_logits(model := Brightness(0.5), views(COUNTS), SEES, 3, CPU)
        found.append(model.fc.bias.detach().clone())
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "given",
    [
        views(COUNTS, kind="none"),
        views(COUNTS, scale=1.0),  # no crops in training, as of small images
        views(COUNTS, apart=0.0),  # crops do not show the class
    ],
    ids=["balanced", "no crops", "crops that show nothing"],
)
def test_nothing_is_shifted_where_nothing_tells(given: Views) -> None:
    model = Brightness(0.9)
    before = model.fc.bias.detach().clone()
    assert adjust_logits(model, replace(given), SEES, 0, CPU) is None and torch.equal(model.fc.bias, before)


def test_a_head_without_biases_is_left_alone() -> None:
    model = Brightness(0.9)
    model.fc.bias = None
    assert adjust_logits(model, views(COUNTS), SEES, 0, CPU) is None
