"""Small files: the same graph in fewer bytes.

What goes: inferred types of intermediate values, copies of equal constants, and the zero points, all 0, of biases and of the weights
of Convs. What stays: every other number, every operator, every name that is left.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass
from edgetl.quantization.layout.short_names import has_subgraphs, rename


def compact(index: GraphIndex) -> onnx.ModelProto:
    """A copy that computes the same, bit for bit, in fewer bytes."""
    result = _without_zero_points(index)
    graph = result.graph
    del graph.value_info[:]
    if has_subgraphs(graph):
        return result
    public = {value.name for value in (*graph.input, *graph.output)}
    rename(graph, _merge_equal_constants(graph, public))
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


COMPACT = Pass(name="compact", rewrite=compact, keeps="same bits")
