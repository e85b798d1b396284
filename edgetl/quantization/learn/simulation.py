"""A graph as a torch function with gradients, its quantizers included: what int8 would answer, and what to change.

A float graph gives the float answers. In a QDQ graph every pair of QuantizeLinear and DequantizeLinear rounds as it does under
onnxruntime (`quantizers`). The integer kernels sum exactly where this sums in float32: answers differ by at most one output step here
and there.
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
from edgetl.quantization.candidates.saturation import Pairs
from edgetl.quantization.graph.editing import attributes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UnknownOperator, along, channel_axis, float_name
from edgetl.quantization.learn.operators import OPERATORS
from edgetl.quantization.learn.quantizers import Bias, Quantizer, Weight


@dataclass(frozen=True)
class UnroundedCodes:
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
        """Logits [n, k] for images x [n, c, h, w], and the values named in `watch`, by name."""
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
            return (UnroundedCodes(given[0], step.inputs[0], key(step.inputs[1])),)
        if step.kind == "DequantizeLinear":
            if isinstance(given[0], UnroundedCodes):
                return (self.quantizers[given[0].quantizer](given[0].values),)
            name = key(step.inputs[0])
            return (self.fixed[name] if name in self.fixed else self.weights[name](),)
        if step.kind == "Constant":
            return (torch.from_numpy(np.array(step.attributes["value"])),)
        found = OPERATORS[step.kind](step.attributes, *given)
        return found if isinstance(found, tuple) else (found,)


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
