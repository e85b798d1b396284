"""What outputs lose with a channel is what its gate says: a derivative, checked by differences."""

from __future__ import annotations

import copy
import gc
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.models.build import build
from edgetl.models.channel_groups import CLOSE, input_count, parameter_count
from edgetl.training.inherit import BATCH_IMAGES, PRUNING_STEPS, effects, narrower, rehearse

SIZE, STEP = 32, 1e-6


def signed_sums(model: nn.Module, x: Tensor, seed: int) -> Tensor:
    """The outputs of each example, summed with the signs of that seed."""
    generator, sums = torch.Generator().manual_seed(seed), []
    for batch in torch.split(x, BATCH_IMAGES):
        with torch.no_grad():
            outputs = model(batch)
        sums.append((outputs * (torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1)).sum(1))
    return torch.cat(sums)


@pytest.mark.parametrize(
    ("arch", "layer"),
    [
        ("cifar_resnet8", "layer2.0.conv1"),  # reads a sum that a shortcut reads too
        ("cifar_resnet8", "fc"),
        ("efficientnet_lite0_early", "stages.1.1.project.0"),
        ("mobilenet_v3_small", "features.4.block.2.fc1"),  # squeeze-and-excite
        ("convnext_tiny", "features.1.0.block.3"),  # a Linear on maps, channels last
    ],
)
def test_effects_are_derivatives_by_a_factor_on_a_channel(arch: str, layer: str) -> None:
    torch.manual_seed(0)
    model = build(arch, 4, SIZE).double().eval()
    x = torch.randn(BATCH_IMAGES + 1, 3, SIZE, SIZE, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    found = effects(model, x, seed=5)[layer]
    assert found.shape == (len(x), input_count(model.get_submodule(layer)))
    for channel in (0, found.shape[1] - 1):
        scaled = []
        for factor in (1 + STEP, 1 - STEP):
            changed = copy.deepcopy(model)
            weight = changed.get_submodule(layer).get_parameter("weight")
            with torch.no_grad():
                weight[:, channel] *= factor  # the same as a factor on what the layer reads
            scaled.append(signed_sums(changed, x, seed=5))
        torch.testing.assert_close(found[:, channel], ((scaled[0] - scaled[1]) / (2 * STEP)).float(), rtol=2e-3, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_nothing_of_the_forward_pass_outlives_the_effects() -> None:
    model, x = build("efficientnet_lite0_early", 3, 32).eval(), torch.randn(16, 3, 32, 32)
    effects(model, x, 0)

    def maps() -> int:
        gc.collect()
        return sum(isinstance(each, torch.Tensor) and each.dim() == 4 and each.requires_grad for each in gc.get_objects())

    before = maps()
    effects(model, x, 0)
    assert maps() == before


def test_what_is_refused_on_paper_is_refused_after_training_and_the_other_way_round() -> None:
    """Whether so little can be left does not depend on the weights: by effects of a network of other weights, just as by none."""
    for keep, possible in ((0.4, True), (0.001, False)):
        torch.manual_seed(1)
        model, x = build("cifar_resnet8", 4, SIZE).eval(), torch.randn(BATCH_IMAGES, 3, SIZE, SIZE)
        wanted, whole = nullcontext() if possible else pytest.raises(InputError, match="too narrow to leave"), parameter_count(model)
        with wanted:
            assert keep * CLOSE**2 < rehearse("cifar_resnet8", 4, SIZE, keep) <= keep
        with wanted:
            for step in range(1, PRUNING_STEPS + 1):
                model = narrower(model, "cifar_resnet8", SIZE, keep ** (step / PRUNING_STEPS) * whole / parameter_count(model), x, 0).model
            assert parameter_count(model) <= keep * whole
