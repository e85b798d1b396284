"""A graph as a torch function with gradients, its quantizers included: what int8 would answer, and what to change.

A float graph gives the float answers. In a QDQ graph every pair of QuantizeLinear and DequantizeLinear rounds as it
does under onnxruntime, and passes gradients through the rounding (straight-through estimator; Bengio et al. 2013) and to
scales and zero points (Esser et al. 2020, "Learned step size quantization"; Bhalgat et al. 2020, "LSQ+"). The integer
kernels sum exactly where this sums in float32: answers differ by at most one output step here and there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from edgetl.quantization.candidates.pixel_codes import PIXELS
from edgetl.quantization.candidates.saturation import Pairs, surplus
from edgetl.quantization.graph.editing import attributes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX, WEIGHT_CODE_MAX, UnknownOperator, along, channel_axis, float_name
from edgetl.quantization.learn.operators import OPERATORS

BIAS_STEP_CODES = 64


@dataclass(frozen=True)
class Codes:
    """Values on their way from QuantizeLinear to DequantizeLinear, not yet rounded."""

    values: Tensor
    name: str
    quantizer: str


@dataclass(frozen=True, kw_only=True)
class GraphStep:
    """A node, read once."""

    kind: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...]  # values that nobody reads after it


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
        codes = torch.clamp(rounded(self.codes), -WEIGHT_CODE_MAX, WEIGHT_CODE_MAX)
        if self.pairs is None:
            return codes
        first, second = self.pairs
        with torch.no_grad():
            flat = codes.reshape(-1)
            ours, theirs = surplus(flat[first], flat[second])
            too_much = torch.zeros_like(flat).index_add_(0, first, ours).index_add_(0, second, theirs)
        return codes - too_much.reshape(codes.shape)

    def numbers(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Codes and scale, as the int8 graph has them."""
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
        return rounded(self.get_buffer("start") + BIAS_STEP_CODES * self.steps) * self.get_buffer("scale")


class Simulation(nn.Module):
    """A classifier's graph; call it with float32 [n, c, h, w] for float32 [n, k]."""

    def __init__(
        self,
        model: onnx.ModelProto,
        floats: Mapping[str, NDArray[np.float32]] | None = None,
        pairs: Mapping[str, Pairs] | None = None,
    ) -> None:
        """Read a float or QDQ graph.

        Args:
            model: the graph.
            floats: its weights as they were before rounding, by name.
            pairs: neighbours in its weights that must not saturate, by the name of their codes.

        Raises:
            UnknownOperator: the graph has an operator that is not in `operators`.
        """
        super().__init__()
        self.constants = GraphIndex(model).constants
        self.tensors = {name: torch.from_numpy(np.array(value)) for name, value in self.constants.items()}
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name
        self.quantizers, self.weights = nn.ModuleDict(), nn.ModuleDict()
        self.fixed: dict[str, Tensor] = {}  # dequantized constants, which are not learned
        self.steps = tuple(_steps(model))
        for node in model.graph.node:
            self._read(node, floats or {}, pairs or {})

    def _read(self, node: onnx.NodeProto, floats: Mapping[str, NDArray[np.float32]], pairs: Mapping[str, Pairs]) -> None:
        if node.op_type == "QuantizeLinear":
            scale, zero = (self.constants[name] for name in node.input[1:3])
            self.quantizers[key(node.input[1])] = Quantizer(float(scale), int(zero), exact=node.input[0] == PIXELS)
        elif node.op_type == "DequantizeLinear" and node.input[0] in self.constants:
            codes, scale = (self.constants[name] for name in node.input[:2])
            if codes.dtype == np.uint8:  # a constant beside activations: the value that Pad fills with, say
                zero = self.constants[node.input[2]].astype(np.float32)
                self.fixed[key(node.input[0])] = torch.from_numpy(np.asarray((codes - zero) * scale, np.float32))
                return
            scale = along(scale, codes.ndim, channel_axis(node))
            if codes.dtype == np.int32:
                self.weights[key(node.input[0])] = Bias(codes, scale)
            else:
                values = floats.get(float_name(node.input[0]), codes * scale)
                self.weights[key(node.input[0])] = Weight(codes, values, scale, pairs.get(node.input[0]))
        elif node.op_type not in OPERATORS and node.op_type not in ("DequantizeLinear", "Constant"):
            raise UnknownOperator(node.op_type)

    def forward(self, x: Tensor, watch: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the values named in `watch`."""
        values: dict[str, Any] = {self.input: x}
        seen: dict[str, Tensor] = {}
        for step in self.steps:
            given = [values.get(name, self.tensors.get(name)) if name else None for name in step.inputs]
            outputs = self._run(step, given)
            for name, value in zip(step.outputs, outputs, strict=False):
                values[name] = value
                if name in watch and isinstance(value, Tensor):
                    seen[name] = value
            for name in step.done:
                values.pop(name, None)
        return values[self.output], seen

    def _run(self, step: GraphStep, given: list[Any]) -> tuple[Any, ...]:
        if step.kind == "QuantizeLinear":
            return (Codes(given[0], step.inputs[0], key(step.inputs[1])),)
        if step.kind == "DequantizeLinear":
            if isinstance(given[0], Codes):
                return (self.quantizers[given[0].quantizer](given[0].values),)
            name = key(step.inputs[0])
            return (self.fixed[name] if name in self.fixed else self.weights[name](),)
        if step.kind == "Constant":
            return (torch.from_numpy(np.array(step.attributes["value"])),)
        found = OPERATORS[step.kind](step.attributes, *given)
        return found if isinstance(found, tuple) else (found,)


def rounded(x: Tensor) -> Tensor:
    """Round half to even; the gradient is that of x."""
    return x + (torch.round(x) - x).detach()


def key(name: str) -> str:
    """A name without dots, which torch does not have in names of modules."""
    return name.replace(".", "/")


def _steps(model: onnx.ModelProto) -> list[GraphStep]:
    last: dict[str, int] = {}
    for index, node in enumerate(model.graph.node):
        for name in (*node.input, *node.output):
            last[name] = index
    last[model.graph.output[0].name] = len(model.graph.node)
    steps = []
    for index, node in enumerate(model.graph.node):
        given = {name: _plain(value) for name, value in attributes(node).items()} | {"_outputs": len(node.output)}
        done = tuple(name for name in dict.fromkeys((*node.input, *node.output)) if last[name] == index)
        steps.append(GraphStep(kind=node.op_type, attributes=given, inputs=tuple(node.input), outputs=tuple(node.output), done=done))
    return steps


def _plain(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
