"""The students keep the sizes they are named for, at every image size, and consist of what int8 is good at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgetl.models.students import EDGE_NAMES, EdgeName, early_halvings, edge

BUDGETS = {
    "edge_tiny": (20_000, 25_000),
    "edge_small": (55_000, 68_000),
    "edge_medium": (230_000, 270_000),
    "edge_large": (900_000, 1_050_000),
}


@pytest.mark.parametrize("name", EDGE_NAMES)
@pytest.mark.parametrize("size", [32, 48, 96, 224])
def test_parameters_stay_within_the_budget_and_outputs_have_one_column_per_class(name: EdgeName, size: int) -> None:
    with torch.device("meta"):
        model = edge(name, 10, size)
        low, high = BUDGETS[name]
        assert low <= sum(p.numel() for p in model.parameters()) <= high
        assert model(torch.empty(3, 3, size, size)).shape == (3, 10)


@pytest.mark.parametrize("name", EDGE_NAMES)
def test_only_operators_with_an_int8_kernel(name: EdgeName) -> None:
    allowed = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Linear)
    leaves = [m for m in edge(name, 10, 32).modules() if not list(m.children())]
    assert all(isinstance(leaf, allowed) for leaf in leaves)
    assert all(m.groups == 1 and m.out_channels % 8 == 0 for m in leaves if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("size", range(16, 513, 16))
def test_the_first_stage_sees_between_32_and_63_pixels(size: int) -> None:
    with torch.device("meta"):
        side = edge("edge_tiny", 2, size).stem(torch.empty(1, 3, size, size)).shape[-1]
    assert side == size if size < 32 else 32 <= side < 64
    assert side == size / 2 ** early_halvings(size)


def test_a_student_learns() -> None:
    torch.manual_seed(0)
    model = edge("edge_tiny", 2, 16)
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8) % 2
    x[y == 1, 0] += 1  # class 1 is redder
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert bool((model(x).argmax(1) == y).all())
