"""After pruning, each convolution is fitted again to what it gave before: linear regression, from the input to the head.

He, Zhang & Sun 2017, "Channel Pruning for Accelerating Very Deep Neural Networks", eq. 1 with the channels given. What a
layer lost with its inputs is made up by those that stay; errors of earlier layers are corrected too, since a layer's
inputs come from the pruned network and its targets from the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.models.finite import refuse_mute

POSITIONS = 100  # of each feature map; neighbors tell much the same
RIDGE = 1e-3  # of the mean square of the inputs: pulls towards the inherited weights
MOST_INPUTS = 5_000  # of one output; regression costs their cube


@dataclass(frozen=True)
class _Sample:
    """What a layer should give: `values` [n * positions, outputs] at `positions` of its flattened map."""

    values: Tensor
    positions: Tensor


@torch.no_grad()
def refit(pruned: nn.Module, original: nn.Module, kept: Mapping[str, Tensor], x: Tensor) -> None:
    """Fit the convolutions of `pruned`, in place, to what those of `original` give to the inputs `x` [n, 3, s, s].

    Both are in evaluation mode. `kept` says which output channels of the original a layer has. Grouped, dilated and very
    wide layers stay as they are, and so does the head where it is a Linear: norms and training are enough for them.

    Raises:
        InputError: answers of either that are not finite.
    """
    names = [name for name, layer in original.named_modules() if _fits(layer)]
    generator = torch.Generator().manual_seed(0)
    samples: dict[str, _Sample] = {}

    def note(name: str) -> Any:
        def hook(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            positions = torch.randperm(output[0, 0].numel(), generator=generator)[:POSITIONS].to(output.device)
            chosen = output[:, kept[name].to(output.device)].flatten(2)[:, :, positions]
            samples[name] = _Sample(chosen.movedim(1, 2).flatten(0, 1), positions)

        return hook

    def fit(name: str) -> Any:
        def hook(layer: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
            if (sample := samples.pop(name, None)) is not None:  # a layer that is used twice is fitted once
                _solve(layer, _patches(layer, inputs[0], sample.positions), sample.values)

        return hook

    with ExitStack() as stack:
        for name in names:
            stack.callback(original.get_submodule(name).register_forward_hook(note(name)).remove)
        refuse_mute(original(x), "the network that is pruned")
    with ExitStack() as stack:
        for name in names:
            stack.callback(pruned.get_submodule(name).register_forward_pre_hook(fit(name)).remove)
        refuse_mute(pruned(x), "the pruned network")


def _fits(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight[0].numel() <= MOST_INPUTS
    )


def _patches(layer: nn.Conv2d, x: Tensor, positions: Tensor) -> Tensor:
    """What the kernel sees at `positions` of the output map: [n, c, h, w] -> [n * positions, c * kernel height * kernel width]."""
    top, left = (int(pixels) for pixels in layer.padding)
    (high, wide), (down, right) = layer.kernel_size, layer.stride
    windows = F.pad(x, (left, left, top, top)).unfold(2, high, down).unfold(3, wide, right)
    columns = windows.shape[3]
    return windows[:, :, positions // columns, positions % columns].movedim(1, 2).flatten(0, 1).flatten(1)


def _solve(layer: nn.Conv2d, patches: Tensor, wanted: Tensor) -> None:
    """Ridge regression in float64; few rows for many inputs pull harder towards the inherited weights."""
    x, weights = patches.double().cpu(), layer.weight.flatten(1).T.double().cpu()
    if layer.bias is not None:
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
        weights = torch.cat([weights, layer.bias.double().cpu()[None]])
    gram = x.T @ x
    if not bool(gram.diagonal().mean() > 0):  # nothing reaches the layer: nothing to fit
        return
    gram.diagonal().add_(RIDGE * max(1.0, 4 * gram.shape[0] / len(x)) * gram.diagonal().mean())
    weights = weights + torch.linalg.solve(gram, x.T @ (wanted.double().cpu() - x @ weights))
    if layer.bias is not None:
        layer.bias.copy_(weights[-1])
        weights = weights[:-1]
    layer.weight.copy_(weights.T.reshape(layer.weight.shape))
