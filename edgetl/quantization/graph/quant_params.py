"""The numbers of a QDQ graph: scales and zero points of activations, codes of weights, biases; read, and written into a copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.editing import with_values
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import INT32_MAX, UINT8_MAX, layers


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
    stored = GraphIndex(model).constants
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
    index = GraphIndex(model)
    old = index.constants
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
            new[node.input[0]] = np.clip(np.rint(numbers.beside[node.input[0]] / step + offset), 0, UINT8_MAX).astype(np.uint8)
    for layer in layers(index):
        if layer.bias is None or layer.source is None or layer.bias.input[0] not in numbers.biases:
            continue
        ours, theirs = (new.get(name, old[name]) for name in (layer.source.input[1], layer.weight.input[1]))
        values = numbers.biases[layer.bias.input[0]]
        step = np.broadcast_to(np.maximum((ours * theirs.ravel()).astype(np.float32), np.finfo(np.float32).tiny), values.shape)
        new[layer.bias.input[1]] = step if old[layer.bias.input[1]].size > 1 else step.ravel()[:1]
        room = _room(new.get(layer.weight.input[0], old[layer.weight.input[0]]), len(values))
        new[layer.bias.input[0]] = np.clip(np.rint(values / step).astype(np.float64), -room, room).astype(np.int32)
    return with_values(model, new)


def _room(weights: NDArray[np.int8], channels: int) -> NDArray[np.float64]:
    """The largest code of each bias, float64 [channels], with which no sum of products leaves int32: there kernels wrap around.

    A channel with next to no weights has a small step, in which its bias is a large number.
    """
    axes = [axis for axis, size in enumerate(weights.shape) if size == channels]  # of a square matrix, both may be that of channels
    sizes = np.abs(weights.astype(np.int64))
    sums = [sizes.sum(axis=tuple(i for i in range(weights.ndim) if i != axis)) for axis in axes]
    return np.asarray(np.maximum(INT32_MAX - UINT8_MAX * np.max(sums, axis=0), 0), dtype=np.float64)
