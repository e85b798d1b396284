"""The layers of a QDQ graph: which constants are the weight and the bias of which operator, and new numbers for them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
CODES = 255  # steps of uint8
MOST = 127  # of an int8 weight; symmetric, so that no code stands alone
INT32 = 2**31 - 1
LARGE = 2**16  # numbers of a tensor that is not copied without need


class UnknownOperator(Exception):
    """A graph that cannot be run in torch; the message names the operator."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A Conv, Gemm or MatMul with an int8 weight.

    Attributes:
        node: the operator.
        weight: the DequantizeLinear of its weight.
        bias: that of its bias, if it has one.
        source: that of its activations; None where they come in float.
    """

    node: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto | None
    source: onnx.NodeProto | None

    @property
    def name(self) -> str:
        """The weight's name in the float graph."""
        return float_name(self.weight.input[0])


def layers(model: onnx.ModelProto) -> Iterator[Layer]:
    """The layers of a QDQ graph, in its order."""
    stored = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        source, weight, bias = ([makers.get(name) for name in node.input] + [None])[:3]
        if weight is not None and weight.input[0] in stored:
            yield Layer(node=node, weight=weight, bias=bias, source=source)


def absorbed(float_model: onnx.ModelProto, qdq: onnx.ModelProto) -> dict[str, tuple[float | None, float | None]]:
    """Activations whose Relu or Clip the QDQ writer left to the quantizer, and the bounds that this must keep; by name."""
    stored = constants(float_model)
    makers = {name: node.op_type for node in qdq.graph.node for name in node.output}
    found: dict[str, tuple[float | None, float | None]] = {}
    for node in float_model.graph.node:
        if node.op_type in ("Relu", "Clip") and makers.get(node.output[0], node.op_type) != node.op_type:
            found[node.output[0]] = bounds_of(node, stored)
    return found


def bounds_of(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> tuple[float | None, float | None]:
    """What a Relu or Clip keeps to, below and above; None where it has no bound that is stored."""
    if node.op_type == "Relu":
        return 0.0, None
    low, high = (float(stored[name]) if name in stored else None for name in ([*node.input[1:], "", ""])[:2])
    return low, high


def float_name(codes: str) -> str:
    """The name that a quantized constant had in the float graph."""
    return codes.removesuffix(TENSOR_NAME_QUANT_SUFFIX)


class Constants(Mapping[str, NDArray[Any]]):
    """Stored tensors by name; large ones are read when they are asked for, since each reading is a copy."""

    def __init__(self, tensors: Iterable[onnx.TensorProto]) -> None:
        self.found = {tensor.name: tensor if math.prod(tensor.dims) > LARGE else numpy_helper.to_array(tensor) for tensor in tensors}

    def __getitem__(self, name: str) -> NDArray[Any]:
        value = self.found[name]
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def constants(model: onnx.ModelProto) -> Constants:
    """The stored tensors, by name."""
    return Constants(model.graph.initializer)


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which types and shapes of values are written down, as far as they can be inferred."""
    light = without(model, "value_info", "initializer")
    for tensor in model.graph.initializer:
        bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        light.graph.initializer.append(bare if math.prod(tensor.dims) > LARGE else tensor)  # numbers of large ones say nothing about shapes
    result: onnx.ModelProto = onnx.shape_inference.infer_shapes(light)
    del result.graph.initializer[:]
    result.graph.initializer.extend(model.graph.initializer)
    return result


def sizes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Sizes of values as far as they are known, 0 elsewhere."""
    graph = inferred(model).graph
    known = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: [part.dim_value for part in value.type.tensor_type.shape.dim] for value in known}


def channel_axis(dequantize: onnx.NodeProto) -> int:
    """The axis along which a constant has scales of its own."""
    return next((item.i for item in dequantize.attribute if item.name == "axis"), 1)


def along(scale: NDArray[np.float32], ndim: int, axis: int) -> NDArray[np.float32]:
    """A scale per tensor or channel -> a shape that broadcasts against a tensor of `ndim` axes."""
    shape = [1] * ndim
    if scale.size > 1:
        shape[axis] = -1
    return scale.reshape(shape)


@dataclass(frozen=True, kw_only=True)
class QuantParams:
    """What goes into a QDQ graph in place of what is there.

    Attributes:
        activations: name of an activation's scale -> scale and zero point (uint8 codes).
        weights: name of int8 codes -> codes and scale, float32 of one value or one per channel.
        biases: name of int32 codes -> values, float32 [channels].
        beside: name of uint8 codes of a constant beside activations (what Pad fills with, say) -> value.
    """

    activations: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    weights: Mapping[str, tuple[NDArray[np.int8], NDArray[np.float32]]] = field(default_factory=dict)
    biases: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def quant_params(model: onnx.ModelProto) -> QuantParams:
    """What a QDQ graph has, to be carried over into another of the same names."""
    stored = constants(model)
    activations = {
        node.input[1]: (float(stored[node.input[1]]), int(stored[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    weights: dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]] = {}
    values: dict[np.dtype[Any], dict[str, NDArray[np.float32]]] = {np.dtype(kind): {} for kind in (np.int32, np.uint8)}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in stored:
            continue
        codes, scale = stored[node.input[0]], stored[node.input[1]]
        if codes.dtype == np.int8:
            weights[node.input[0]] = (codes, scale)
            continue
        zero = stored[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.float32(0)
        values[codes.dtype][node.input[0]] = ((codes - zero) * scale).astype(np.float32)
    return QuantParams(activations=activations, weights=weights, biases=values[np.dtype(np.int32)], beside=values[np.dtype(np.uint8)])


def with_quant_params(model: onnx.ModelProto, numbers: QuantParams) -> onnx.ModelProto:
    """A copy of a QDQ graph with other numbers; the scale of a bias stays that of input times weight, as int8 kernels need it."""
    old = constants(model)
    new: dict[str, NDArray[Any]] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in numbers.activations:
            scale, zero = numbers.activations[node.input[1]]
            new[node.input[1]], new[node.input[2]] = np.array(scale, np.float32), np.array(zero, np.uint8)
        elif node.op_type == "DequantizeLinear" and node.input[0] in numbers.weights:
            new[node.input[0]], new[node.input[1]] = numbers.weights[node.input[0]]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in numbers.beside:
            step, offset = (new.get(name, old[name]) for name in node.input[1:3])
            new[node.input[0]] = np.clip(np.rint(numbers.beside[node.input[0]] / step + offset), 0, CODES).astype(np.uint8)
    for layer in layers(model):
        if layer.bias is None or layer.source is None or layer.bias.input[0] not in numbers.biases:
            continue
        ours, theirs = (new.get(name, old[name]) for name in (layer.source.input[1], layer.weight.input[1]))
        values = numbers.biases[layer.bias.input[0]]
        step = np.broadcast_to(np.maximum((ours * theirs.ravel()).astype(np.float32), np.finfo(np.float32).tiny), values.shape)
        new[layer.bias.input[1]] = step if old[layer.bias.input[1]].size > 1 else step.ravel()[:1]
        new[layer.bias.input[0]] = np.clip(np.rint(values / step), -INT32, INT32).astype(np.int32)
    return with_values(model, new)


def with_values(model: onnx.ModelProto, new: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy with other values of some stored tensors, by name; shapes stay."""
    result = without(model, "initializer")
    for tensor in model.graph.initializer:
        if tensor.name in new:
            tensor = numpy_helper.from_array(np.ascontiguousarray(new[tensor.name]).reshape(tuple(tensor.dims)), tensor.name)
        result.graph.initializer.append(tensor)
    return result


def with_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], new: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """A copy with other nodes and with new (or other) stored tensors, by name; those that nobody reads any more are left out."""
    given, written = new or {}, [*nodes]
    used = {*names_read(written), *(output.name for output in model.graph.output)}
    result = without(model, "node", "initializer")
    result.graph.node.extend(written)
    result.graph.initializer.extend(item for item in model.graph.initializer if item.name in used - {*given})
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in given.items())
    return result


def without(model: onnx.ModelProto, *fields: str) -> onnx.ModelProto:
    """A copy whose graph lacks these fields; what is left out of a copied message would stay in memory with it."""
    result = onnx.ModelProto()
    for source, copy, left_out in ((model, result, ("graph",)), (model.graph, result.graph, fields)):
        for name, value in ((known.name, value) for known, value in source.ListFields() if known.name not in left_out):
            if hasattr(value, "extend"):
                getattr(copy, name).extend(value)
            elif hasattr(value, "CopyFrom"):
                getattr(copy, name).CopyFrom(value)
            else:
                setattr(copy, name, value)
    return result


def without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with only those nodes whose result something reads."""
    wanted = {output.name for output in model.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(names_read([node]))
    return with_nodes(model, reversed(kept))


def times_read(graph: onnx.GraphProto) -> Counter[str]:
    """How often each value is read, by nodes and as an output of the graph."""
    return Counter([*names_read(graph.node), *(output.name for output in graph.output)])


def names_read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """The names that nodes read, those in their branches and bodies too."""
    for node in nodes:
        yield from node.input
        for item in node.attribute:
            yield from names_read(item.g.node)
            yield from (output.name for output in item.g.output)
