"""Quantizers with gradients: codes of activations, weights and biases that round as the int8 graph does and can be learned.

Gradients pass through the rounding (straight-through estimator; Bengio et al. 2013) and to scales and zero points (Esser et al. 2020,
"Learned step size quantization"; Bhalgat et al. 2020, "LSQ+").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.quantization.candidates.saturation import Pairs, surplus
from edgetl.quantization.graph.layers import UINT8_MAX, WEIGHT_CODE_MAX

BIAS_STEP_CODES = 64  # of a bias, that one step of learning is


class RoundTrip(torch.autograd.Function):
    """To uint8 codes and back; the gradients of LSQ+ in few passes over memory, which take most of the time.

    Inside the range x has the gradient of the result, outside none. What the result gains with the scale is
    (result - x inside the range) / scale; a zero point moves what lies outside.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:  # noqa: D102
        step, offset = float(scale), round(min(max(float(zero), 0.0), float(UINT8_MAX)))
        result = (x / step).round_().clamp_(-offset, UINT8_MAX - offset).mul_(step)
        ctx.save_for_backward(x, result)
        ctx.step, ctx.offset = step, offset
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        x, result = ctx.saved_tensors
        low, high = (-ctx.offset - 0.5) * ctx.step, (UINT8_MAX - ctx.offset + 0.5) * ctx.step
        inside = torch.ops.aten.hardtanh_backward(gradient, x, low, high)
        of_scale = (dot(gradient, result) - dot(inside, x)) / ctx.step
        of_zero = ctx.step * (inside.sum() - gradient.sum())
        return inside, of_scale, of_zero


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products of two tensors of one shape, in one pass where their layouts agree."""
    if a.dim() == 4 and a.stride() == b.stride() and a.is_contiguous(memory_format=torch.channels_last):
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


class Quantizer(nn.Module):
    """uint8 codes of one activation: scale (its logarithm) and zero point, both learnable unless the codes are exact."""

    def __init__(self, scale: float, zero: int, exact: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(scale))), requires_grad=not exact)
        self.zero = nn.Parameter(torch.tensor(float(zero)), requires_grad=0 < zero < UINT8_MAX and not exact)

    def numbers(self) -> tuple[float, int]:
        """Scale and zero point, as the int8 graph has them."""
        return self.log_scale.exp().item(), round(min(max(self.zero.item(), 0), UINT8_MAX))

    def forward(self, x: Tensor) -> Tensor:
        """Round to codes and back, float32 of any shape."""
        result: Tensor = RoundTrip.apply(x, self.log_scale.exp(), self.zero)
        return result


class Weight(nn.Module):
    """int8 codes of a weight; learnable as real numbers that are rounded, and kept from saturating, when used."""

    def __init__(self, codes: NDArray[np.int8], values: NDArray[np.float32], scale: NDArray[np.float32], pairs: Pairs | None) -> None:
        """Start at `codes`, and within them where `values`, float32 of the same shape, would be; `scale` broadcasts."""
        super().__init__()
        exact = (values / scale).astype(np.float32)
        self.register_buffer("scale", torch.from_numpy(np.array(scale)))
        self.register_buffer("exact", torch.from_numpy(exact))
        self.codes = nn.Parameter(torch.from_numpy(np.where(np.rint(exact) == codes, exact, codes.astype(np.float32))))
        self.pairs = (torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)) if pairs else None

    def int8_codes(self) -> Tensor:
        """The codes as the int8 graph has them, in float32; their gradient is that of the real numbers."""
        codes = torch.clamp(round_straight_through(self.codes), -WEIGHT_CODE_MAX, WEIGHT_CODE_MAX)
        if self.pairs is None:
            return codes
        first, second = self.pairs
        with torch.no_grad():
            flat = codes.reshape(-1)
            ours, theirs = surplus(flat[first], flat[second])
            too_much = torch.zeros_like(flat).index_add_(0, first, ours).index_add_(0, second, theirs)
        return codes - too_much.reshape(codes.shape)

    def numbers(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Codes, int8 in the shape of the weight, and scale, float32 in a shape that broadcasts to it, as the int8 graph has them."""
        return self.int8_codes().detach().numpy().astype(np.int8), self.get_buffer("scale").numpy()

    def forward(self) -> Tensor:
        """The weight as the int8 graph has it."""
        return self.int8_codes() * self.get_buffer("scale")


class Bias(nn.Module):
    """int32 codes of a bias. What is learned is its change, in steps of 64 codes: about what one input code times one weight makes."""

    def __init__(self, codes: NDArray[np.int32], scale: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("start", torch.from_numpy(codes.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.array(np.broadcast_to(scale, codes.shape))))
        self.steps = nn.Parameter(torch.zeros(codes.shape))

    def forward(self) -> Tensor:
        """The bias, rounded with the scale it had at first."""
        return round_straight_through(self.get_buffer("start") + BIAS_STEP_CODES * self.steps) * self.get_buffer("scale")


def round_straight_through(x: Tensor) -> Tensor:
    """Round a tensor of any shape half to even; the gradient is that of x (straight-through)."""
    return x + (torch.round(x) - x).detach()
