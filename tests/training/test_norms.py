"""Laws of adapted batch norms: their statistics are those of the images, nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgetl.training.norms import adapt_norms

CPU = torch.device("cpu")


def test_statistics_are_those_of_the_images_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    conv, norm = model[0], model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    x, before = 5 + 3 * torch.randn(60, 3, 4, 4), {name: value.clone() for name, value in model.named_parameters()}
    assert adapt_norms(model, lambda rows: x[rows], 60, CPU, 20)
    with torch.no_grad():
        seen = conv(x)
        assert norm.running_mean is not None and torch.allclose(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-4)
        batches = torch.stack([part.var(dim=(0, 2, 3)) for part in seen.split(20)])
        assert norm.running_var is not None and torch.allclose(norm.running_var, batches.mean(0), rtol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert norm.momentum == pytest.approx(0.1) and not any(module.training for module in model.modules())


def test_a_network_without_batch_norms_says_so_and_sees_nothing() -> None:
    def never(rows: slice) -> torch.Tensor:
        raise AssertionError(rows)

    assert not adapt_norms(nn.Sequential(nn.Conv2d(3, 4, 1)), never, 60, CPU, 20)
