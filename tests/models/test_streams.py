"""Streams are turned without changing the function, and pruning loses less of a network that was turned."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgetl.models.build import build
from edgetl.models.efficientnet_lite import EfficientNetLite
from edgetl.models.loading import load_into
from edgetl.models.prune import prune
from edgetl.models.refit import refit
from edgetl.models.streams import turned
from edgetl.models.weights import resolve_weights
from edgetl.training.inherit import effects

ARCHS = ("efficientnet_lite0_short", "efficientnet_lite0_early")  # read at their end by a convolution, and by the head
SIZE = 64


def network(arch: str) -> EfficientNetLite:
    """Random weights, norms that have seen something and are no identities."""
    torch.manual_seed(3)
    model = build(arch, 5, SIZE)
    assert isinstance(model, EfficientNetLite)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(std=0.3)
        for _ in range(3):
            model.train()(torch.randn(8, 3, SIZE, SIZE))
    return model.eval()


@torch.no_grad()
def ends_of_stages(model: EfficientNetLite, x: Tensor) -> list[Tensor]:
    """The maps behind each stage."""
    maps, x = [], model.stem(x)
    for stage in model.stages:
        maps.append(x := stage(x))
    return maps


@pytest.mark.parametrize("arch", ARCHS)
def test_the_function_stays_and_so_does_what_was_given(arch: str) -> None:
    model, x = network(arch), torch.randn(16, 3, SIZE, SIZE)
    before = copy.deepcopy(model.state_dict())
    found, fresh = turned(model, x, seed=0), torch.randn(4, 3, SIZE, SIZE)
    torch.testing.assert_close(found(fresh), model(fresh), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert any(not torch.equal(before[name], value) for name, value in found.state_dict().items())
    assert all(p.grad is None for p in (*model.parameters(), *found.parameters()))


@pytest.mark.parametrize("arch", ARCHS)
def test_channels_have_mean_zero_variance_one_and_are_uncorrelated(arch: str) -> None:
    """In stages of one block; in others the covariance of all maps of the stage together is so."""
    model, x = network(arch), torch.randn(16, 3, SIZE, SIZE)
    maps = ends_of_stages(turned(model, x, seed=0), x)
    single = [each for each, stage in zip(maps, model.stages, strict=True) if isinstance(stage, nn.Sequential) and len(stage) == 1]
    assert len(single) >= 2
    for each in single:
        values = each.movedim(1, 0).flatten(1).double()
        torch.testing.assert_close(values.mean(1), torch.zeros(len(values), dtype=torch.float64), rtol=0, atol=1e-3)
        covariance = torch.cov(values, correction=0)
        if values.shape[1] > 4 * len(values):  # places enough to tell all channels apart
            torch.testing.assert_close(covariance, torch.eye(len(values), dtype=torch.float64), rtol=0, atol=0.02)


def test_norms_keep_their_meaning_for_training() -> None:
    """The weight of a norm is the spread that its stored variance tells: statistics of a batch give the same again."""
    model, x = network("efficientnet_lite0_short"), torch.randn(32, 3, SIZE, SIZE)
    found = turned(model, x, seed=0)
    for block in (stage[0] for stage in found.stages if isinstance(stage, nn.Sequential)):
        norm = block.get_submodule("project.1")
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        torch.testing.assert_close(norm.weight.square(), norm.running_var + norm.eps, rtol=1e-4, atol=1e-6)


def test_pruning_loses_less_with_channels_that_were_turned(shared: Path) -> None:
    """Real weights, 60% of the parameters; the error on photos that decided nothing (measured: 0.44 of the variance; as it was 0.60)."""
    weights, _ = resolve_weights("efficientnet_lite0_short", "auto", Path("nothing is downloaded"))
    assert weights is not None and weights.preprocess is not None
    model = build("efficientnet_lite0_short", 1000, SIZE)
    load_into(model, weights, weights.classes)
    photos = sorted((shared / "data" / "imagenet_samples").glob("*.jpg"))[::5]
    prepare = weights.preprocess.at(96)
    x = torch.from_numpy(np.stack([prepare(path.read_bytes()) for path in photos]))
    assert isinstance(model, EfficientNetLite)
    head, some = model.fc, slice(None, None, 25)  # 40 of 1,000 classes, so that the head is a small part
    model.fc = nn.Linear(head.in_features, 40)
    model.fc.load_state_dict({"weight": head.weight[some], "bias": head.bias[some]})
    model.eval()
    lost = {}
    for name, start in (("as it was", model), ("turned", turned(model, x[:48], seed=0))):
        pruned = prune(start, "efficientnet_lite0_short", SIZE, 0.6, effects(start, x[:48], seed=0))
        refit(pruned.model, start, pruned.kept, x[:48])
        with torch.no_grad():
            lost[name] = float((pruned.model(x[48:]) - model(x[48:])).var() / model(x[48:]).var())
    assert lost["turned"] < 0.85 * lost["as it was"], lost
