"""Small files: the same graph in fewer bytes. In a network of 80 thousand weights, names and notes weigh as much as a layer.

What goes: inferred types of intermediate values, names of nodes, long names of values, copies of equal constants, and the zero
points, all 0, of biases and of the weights of Convs.
What stays: every other number, every operator, the names of inputs and outputs, and of layers in float, so that a profile can name them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import on_codes
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.quantization.graph.passes import Pass

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def compact(index: GraphIndex) -> onnx.ModelProto:
    """A copy that computes the same, bit for bit, in fewer bytes; graphs with subgraphs keep their names."""
    result = _without_zero_points(index)
    graph = result.graph
    del graph.value_info[:]
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return result
    public = {value.name for value in (*graph.input, *graph.output)}
    _rename(graph, _merge_equal_constants(graph, public))
    _rename(graph, _short_names(graph, public))
    int8 = on_codes(GraphIndex(result))
    for position, node in enumerate(graph.node):
        if node.op_type not in WEIGHTED or int8[position]:
            node.ClearField("name")
    return result


def _without_zero_points(index: GraphIndex) -> onnx.ModelProto:
    """A copy without the zero points of weights and biases that are 0 anyway, one or four bytes for each channel.

    ONNX, DequantizeLinear-10: "There's no zero point in the case of dequantizing int32", and it is optional elsewhere. Those of
    other weights than a Conv's stay, since without them onnxruntime 1.31 runs a Gemm in float.
    """
    result = onnx.ModelProto()
    result.CopyFrom(index.model)
    stored = index.constants
    for node in result.graph.node:
        codes, _, zeros = ([stored.get(name) for name in node.input] + [None] * 3)[:3]
        if node.op_type != "DequantizeLinear" or codes is None or zeros is None or zeros.any():
            continue
        if codes.dtype == np.int32 or (codes.dtype == np.int8 and {reader.op_type for reader in index.readers[node.output[0]]} == {"Conv"}):
            del node.input[2:]
    return with_nodes(result, result.graph.node)


def _merge_equal_constants(graph: onnx.GraphProto, public: set[str]) -> dict[str, str]:
    """Drop initializers equal to an earlier one; dropped name -> name kept."""
    kept: dict[bytes, onnx.TensorProto] = {}
    replaced: dict[str, str] = {}
    for tensor in graph.initializer:
        content = onnx.TensorProto()
        content.CopyFrom(tensor)
        if tensor.name not in public:
            content.ClearField("name")
        first = kept.setdefault(content.SerializeToString(deterministic=True), tensor)
        if first is not tensor:
            replaced[tensor.name] = first.name
    remaining = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept.values()]
    del graph.initializer[:]
    graph.initializer.extend(remaining)
    return replaced


def _short_names(graph: onnx.GraphProto, public: set[str]) -> dict[str, str]:
    """A short name for every value but the public ones, in order of first use."""
    values = (name for node in graph.node for name in (*node.input, *node.output) if name and name not in public)
    fresh = (name for name in _words() if name not in public)
    return dict(zip(dict.fromkeys(values), fresh, strict=False))


def _words() -> Iterator[str]:
    words = [""]
    while True:
        words = [word + letter for word in words for letter in ALPHABET]
        yield from words


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                fields[index] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


COMPACT = Pass(name="compact", rewrite=compact, keeps="same bits")
