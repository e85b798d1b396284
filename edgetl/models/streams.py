"""Linear streams, turned so that their channels matter one by one: pruning then loses little with those that matter least.

Between inverted residual blocks (Sandler et al. 2018, "MobileNetV2", section 3.2) nothing but sums stands: a stream may be written in any
other basis, if the layers before and behind it are (Ashkboos et al. 2024, "SliceGPT", section 3, has it for transformers). The basis in
which the stream has unit covariance and the outputs depend on one channel at a time, to second order, is the one to prune in (Wang et
al. 2019, "EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis", section 4).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgetl.models.efficientnet_lite import ConvNorm, EfficientNetLite, InvertedResidual

BATCH_IMAGES = 8
VARIANCE_DAMPING = 1e-5  # of the mean variance of a channel
LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class Moments:
    """Moments of a map over images and places: mean [c], covariance [c, c], and second moment of the outputs' gradients [c, c]."""

    mean: Tensor
    covariance: Tensor
    gradients: Tensor


@dataclass(frozen=True)
class _Sums:
    """Sums over images and places: their number, the values, the products of values, the products of gradients."""

    places: int = 0
    values: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    gradients: Tensor | float = 0.0

    def with_map(self, found: Tensor) -> _Sums:
        """These sums and those of one more map [n, c, h, w], whose gradient is known."""
        assert found.grad is not None
        x, g = (each.detach().movedim(1, 0).flatten(1).double().cpu() for each in (found, found.grad))
        return _Sums(self.places + x.shape[1], self.values + x.sum(1), self.squares + x @ x.T, self.gradients + g @ g.T)

    def moments(self) -> Moments:
        mean, squares, gradients = (torch.as_tensor(each) / self.places for each in (self.values, self.squares, self.gradients))
        return Moments(mean, squares - torch.outer(mean, mean), gradients)


@dataclass(frozen=True)
class Stream:
    """The maps of one resolution, [n, c, h, w]: blocks that write into it, and layers that read it by 1x1 kernels."""

    blocks: Sequence[InvertedResidual]
    readers: Sequence[ConvNorm | nn.Linear]


def turned(model: EfficientNetLite, x: Tensor, seed: int) -> EfficientNetLite:
    """The same function up to float rounding, in evaluation mode; each stream in the basis of what matters, its mean zero.

    Args:
        model: in evaluation mode; left as it is.
        x: examples, float [n, 3, s, s].
        seed: of the random signs with which outputs are summed.
    """
    model = copy.deepcopy(model).eval()
    streams = _streams(model)
    measured = _measured(streams, model, x, seed)
    with torch.no_grad():
        for stream, moments in zip(streams, measured, strict=True):
            _turn(stream, moments)
    return model


def backward_with_signs(outputs: Tensor, generator: torch.Generator) -> None:
    """The backward pass of outputs [n, k], summed with random signs, so that on average their gradients do not cancel (Hutchinson 1990)."""
    signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1
    (outputs * signs.to(outputs.device)).sum().backward()  # type: ignore[no-untyped-call]


def _streams(model: EfficientNetLite) -> list[Stream]:
    stages = [[block for block in stage.children() if isinstance(block, InvertedResidual)] for stage in model.stages]
    behind = [*(blocks[0].expand for blocks in stages[1:]), model.fc if isinstance(model.last, nn.Identity) else model.last]
    readers = [[*(block.expand for block in blocks[1:]), last] for blocks, last in zip(stages, behind, strict=True)]
    return [
        Stream(blocks=blocks, readers=[layer for layer in own if isinstance(layer, ConvNorm | nn.Linear)])
        for blocks, own in zip(stages, readers, strict=True)
    ]


def _measured(streams: Sequence[Stream], model: nn.Module, x: Tensor, seed: int) -> list[list[Moments]]:
    """Moments behind each block, and of the gradients of the outputs' signed sum."""
    blocks: list[nn.Module] = [block for stream in streams for block in stream.blocks]
    generator, sums, maps = torch.Generator().manual_seed(seed), dict.fromkeys(blocks, _Sums()), dict[nn.Module, Tensor]()

    def note(block: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        maps[block] = output

    hooks = [block.register_forward_hook(note) for block in blocks]
    for start in range(0, len(x), BATCH_IMAGES):
        backward_with_signs(model(x[start : start + BATCH_IMAGES]), generator)
        sums = {block: sums[block].with_map(maps[block]) for block in blocks}
    model.zero_grad()
    for hook in hooks:
        hook.remove()
    return [[sums[block].moments() for block in stream.blocks] for stream in streams]


def _turn(stream: Stream, moments: Sequence[Moments]) -> None:
    """Write the stream s as t = M (s - m): those that write it give M s, those that read it take M^-1 t + m."""
    mean = torch.stack([each.mean for each in moments]).mean(0)
    spread = torch.stack([each.covariance + torch.outer(each.mean - mean, each.mean - mean) for each in moments]).mean(0)
    there, back = _basis(spread, torch.stack([each.gradients for each in moments]).mean(0))
    before: Moments | None = None
    for block, after in zip(stream.blocks, moments, strict=True):
        _write(block.project, there, after, before, mean)
        before = after
    for reader in stream.readers:
        _read(reader, back, mean)


def _basis(covariance: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """M and its inverse: M C M^T is the identity, and M^-T G M^-1 is diagonal."""
    damped = covariance + VARIANCE_DAMPING * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    variances, axes = torch.linalg.eigh(damped)
    root, inverse = (axes @ torch.diag(power) @ axes.T for power in (variances.sqrt(), variances.rsqrt()))
    _, turn = torch.linalg.eigh(root @ gradients @ root)
    return turn.T @ inverse, root @ turn


def _write(layer: ConvNorm, there: Tensor, after: Moments, before: Moments | None, mean: Tensor) -> None:
    """The norm keeps its meaning: its statistics are those of the turned outputs; `before`: of the stream that they are added to."""
    conv, norm = layer[0], layer[1]
    assert (
        isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    )
    scale = norm.weight.double().cpu() / torch.sqrt(norm.running_var.double().cpu() + norm.eps)
    shift = norm.bias.double().cpu() - scale * norm.running_mean.double().cpu()
    own = after.mean if before is None else after.mean - before.mean
    spread = after.covariance if before is None else torch.diag(norm.weight.double().cpu() ** 2)
    center, variance = there @ (own - shift), (there @ spread @ there.T).diagonal().clamp_min(LEAST_VARIANCE)
    conv.weight.copy_((there @ (scale[:, None] * conv.weight.flatten(1).double().cpu())).view_as(conv.weight))
    norm.running_mean.copy_(center)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(center + there @ (shift - mean if before is None else shift))


def _read(layer: ConvNorm | nn.Linear, back: Tensor, mean: Tensor) -> None:
    linear = layer if isinstance(layer, nn.Linear) else layer[0]
    assert isinstance(linear, nn.Linear | nn.Conv2d)
    weight = linear.weight.flatten(1).double().cpu()
    linear.weight.copy_((weight @ back).view_as(linear.weight))
    if isinstance(layer, nn.Linear):
        layer.bias.add_((weight @ mean).to(layer.bias))
    else:
        norm = layer[1]
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
        norm.running_mean.sub_((weight @ mean).to(norm.running_mean))
