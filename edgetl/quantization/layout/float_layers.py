"""Layers in float that stay in float: onnxruntime makes int8 weights, with one scale for all channels, where codes go in and come out.

Its `WeightBiasQuantization` (1.21 and later) does so with Conv, ConvTranspose and Gemm behind a DequantizeLinear, if only a QuantizeLinear
reads their result, or a Relu or Clip in front of one. A student of flowers with its noisiest layer left in float had 13.8 dB where it had
19.7 dB with all of them in int8, and 18.1 dB with onnxruntime's optimizations off (docs/log.md).
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import BOUNDING
from edgetl.quantization.graph.passes import Pass

TAKEN = frozenset({"Conv", "ConvTranspose", "Gemm"})


def with_float_layers(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph with a Max in front of the QuantizeLinear behind each layer that onnxruntime would take out of float.

    It cuts off what the codes cannot hold, so that they stay the same.
    """
    bounds: dict[str, NDArray[np.float32]] = {}
    nodes: list[onnx.NodeProto] = []
    behind = {quantize.output[0] for node in index.nodes if (quantize := _taken(index, node)) is not None}
    for node in index.nodes:
        if node.output and node.output[0] in behind:
            least, value = f"{node.output[0]}_least", f"{node.output[0]}_held"
            scale, zero = (index.constants[name] for name in node.input[1:3])
            bounds[least] = np.asarray(-zero.astype(np.float32) * scale, np.float32).reshape(())
            nodes.append(helper.make_node("Max", [node.input[0], least], [value], name=value))
            held = onnx.NodeProto()
            held.CopyFrom(node)
            held.input[0] = value
            node = held
        nodes.append(node)
    return with_nodes(index.model, nodes, bounds) if bounds else index.model


def _taken(index: GraphIndex, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The QuantizeLinear behind a layer that onnxruntime would make int8; None for all other nodes."""
    if node.op_type not in TAKEN or index.producer(node.input[0], "DequantizeLinear") is None or node.input[1] not in index.constants:
        return None
    while index.times_read[node.output[0]] == 1 and index.readers[node.output[0]]:
        (node,) = index.readers[node.output[0]]
        if node.op_type == "QuantizeLinear":
            return node if all(name in index.constants for name in node.input[1:3]) else None
        if node.op_type not in BOUNDING:
            break
    return None


FLOAT_LAYERS = Pass(
    name="float layers",
    rewrite=with_float_layers,
    keeps="same function up to rounding to codes",  # the same bits where onnxruntime's optimizations are off
    needs=frozenset({"QuantizeLinear", "DequantizeLinear"}),
)
