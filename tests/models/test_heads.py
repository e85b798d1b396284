"""Heads of every family: found, replaced, split off, and ranked last."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.models.build import OWN_NAMES, build
from edgetl.models.heads import (
    Mlp,
    head_layer,
    head_name,
    head_parameters,
    parameter_blocks,
    set_linear,
    split_head,
    with_head,
)
from edgetl.models.published import torchvision_names
from edgetl.selection.students import LITE_STUDENTS
from edgetl.settings import DistillSettings

FAMILIES = {  # the smallest member of each, and a size it runs at
    "alexnet": 64, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 33, "googlenet": 32,
    "inception_v3": 75, "maxvit_t": 224, "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "regnet_x_400mf": 32,
    "regnet_y_400mf": 32, "resnet18": 32, "resnext50_32x4d": 32, "shufflenet_v2_x0_5": 32, "squeezenet1_1": 32, "swin_t": 32,
    "swin_v2_t": 64, "vgg11": 32, "vit_b_32": 32, "wide_resnet50_2": 32,
}  # fmt: skip
OWN = {"cifar_resnet8": 32, "cifar_resnet16": 32, "edge_tiny": 32, "edge_large": 96}
ALL = sorted((FAMILIES | OWN).items())
SMALL = sorted({name: FAMILIES[name] for name in ("mobilenet_v3_small", "squeezenet1_1")} | OWN)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {arch: build(arch, 5, size).eval() for arch, size in ALL}


def test_every_family_is_covered() -> None:
    stems = {arch.rstrip("0123456789_").split("_")[0].rstrip("0123456789") for arch in FAMILIES}
    missing = {arch for arch in torchvision_names() if not any(arch.startswith(stem) for stem in stems)}
    assert missing == set()


@pytest.mark.parametrize("arch", OWN_NAMES)
def test_every_network_of_our_own_ends_in_a_head(arch: str) -> None:
    with torch.device("meta"):
        head = head_layer(build(arch, 5, 96))
    assert isinstance(head, nn.Linear) and head.out_features == 5


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_the_body_gives_what_the_head_takes_and_both_share_the_models_weights(networks: dict[str, nn.Module], arch: str, size: int) -> None:
    model = networks[arch]
    body, head = split_head(model)
    features = body(torch.empty(2, 3, size, size, device="meta"))
    layer = head_layer(model)
    assert features.shape[:2] == (2, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)
    assert head(features).shape == (2, 5)
    parts = {id(p) for p in (*body.parameters(), *head.parameters())}
    assert parts == {id(p) for p in model.parameters()}
    assert {id(p) for p in head.parameters()} == {id(p) for p in head_parameters(model)}


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_blocks_hold_every_parameter_once_from_input_to_head(networks: dict[str, nn.Module], arch: str, size: int) -> None:
    model = networks[arch]
    blocks = parameter_blocks(model)
    assert 3 <= len(blocks) <= 6
    assert all(blocks)
    flat = [id(p) for block in blocks for p in block]
    assert len(flat) == len(set(flat)) == len(list(model.parameters()))
    assert [id(p) for p in blocks[-1]] == [id(p) for p in head_parameters(model)]
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))  # the layer that sees the image
    assert id(first.weight) in {id(p) for p in blocks[0]}


@pytest.mark.parametrize("arch", SMALL)
def test_body_and_head_in_a_row_are_the_model(arch: str) -> None:
    torch.manual_seed(0)
    size = (FAMILIES | OWN)[arch]
    model, x = build(arch, 5, size).eval(), torch.randn(3, 3, size, size)
    body, head = split_head(model)
    with torch.no_grad():
        assert torch.equal(head(body(x)), model(x))
        for parameter in head.parameters():
            parameter.add_(1)
        assert torch.equal(head(body(x)), model(x))  # a trained head is the model's


def test_blocks_of_a_residual_network_are_its_stages() -> None:
    model = build("cifar_resnet8", 3, 32)
    expected = [[model.conv1, model.bn1], [model.layer1], [model.layer2], [model.layer3], [model.fc]]
    assert [[id(p) for p in block] for block in parameter_blocks(model)] == [
        [id(p) for m in row for p in m.parameters()] for row in expected
    ]


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "efficientnet_lite2", *LITE_STUDENTS])
def test_the_last_blocks_of_a_pretrained_student_learn_from_few_images_all_but_the_first_ones_from_many(arch: str) -> None:
    """Once all stages of EfficientNet-Lite were one block, so that freezing two froze all of them, whatever the number of images."""
    settings = DistillSettings(arch=arch, weights="package")
    few, many = settings.frozen_for(200), settings.frozen_for(1000)
    blocks = [sum(p.numel() for p in block) for block in parameter_blocks(build(arch, 2, 224))]
    assert len(blocks) == 6 and few < 5 and sum(blocks[:many]) < 0.2 * sum(blocks[:-1])
    assert (few > many) == (not arch.endswith("_early")) and DistillSettings(arch=arch, weights="package", freeze=1).frozen_for(9) == 1
    assert DistillSettings(arch=arch).frozen_for(9) == 0


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("arch", SMALL)
def test_a_name_with_a_head_builds_a_network_with_such_a_head(arch: str, kind: Literal["linear", "mlp"]) -> None:
    size = (FAMILIES | OWN)[arch]
    model, x = build(f"{arch}+{kind}", 5, size).eval(), torch.randn(3, 3, size, size)
    head = model.get_submodule(head_name(model))
    assert isinstance(head, Mlp if kind == "mlp" else nn.Linear)
    body, split = split_head(model)
    with torch.no_grad():
        assert body(x).ndim == 2 and split is head and torch.equal(head(body(x)), model(x))
    assert shapes(with_head(build(arch, 5, size), kind)) == shapes(model)
    assert [id(p) for p in parameter_blocks(model)[-1]] == [id(p) for p in head.parameters()]


def test_weights_that_are_set_are_what_a_pooled_squeezenet_answers_with() -> None:
    torch.manual_seed(0)
    plain = build("squeezenet1_1", 4, 64).eval()
    pooled = with_head(copy.deepcopy(plain), "linear").eval()
    layer, x = head_layer(pooled), torch.randn(2, 3, 64, 64)
    assert isinstance(layer, nn.Linear)
    set_linear(layer, weight := torch.randn(4, 512), bias := torch.randn(4))
    with torch.no_grad():
        expected = plain.features(x).mean(dim=(2, 3)) @ weight.T + bias
        assert torch.allclose(pooled(x), expected, atol=1e-4)


def test_a_network_without_a_linear_end_is_refused() -> None:
    with pytest.raises(InputError, match="ends in one linear layer, found Sequential"):
        split_head(nn.Sequential(nn.Conv2d(3, 2, 1)))


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    tensors: dict[str, Tensor] = model.state_dict()
    return {name: value.shape for name, value in tensors.items()}
