"""Averages that stay in float, as SqueezeNet's logits do, written so that every CPU gives the same bits.

onnxruntime sums the decoded codes of a GlobalAveragePool in float32, four at a time, and adds the four sums in an order of its own on
each kind of CPU (MlasReduceAddFloat32x4 of onnxruntime/core/mlas/lib/mlasi.h: first and third, second and fourth on x86; neighbors on
ARM). Of codes times a scale each order rounds otherwise. Of whole numbers, up to 2^24, none rounds. So the scale moves behind the pool:
one division and one product of float32 are left.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.quantization.graph.index import GraphIndex

POOL, DECODE = "GlobalAveragePool", "DequantizeLinear"
FLAT = ("Flatten", "Identity", "Reshape", "Squeeze")  # operators that keep the order of one image's logits


def with_whole_averages(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose averages of codes that become the answer sum whole numbers; the given model where there are none."""
    index = GraphIndex(model)
    pools = {id(node): decode for node in index.nodes if (decode := _decoded(node, index)) is not None}
    if not pools:
        return model
    nodes, constants = [], {}
    for node in index.nodes:
        if (decode := pools.get(id(node))) is None:
            nodes.append(node)
            continue
        whole, mean, one = (f"{node.output[0]}_{part}" for part in ("whole", "mean", "one"))
        constants[one] = np.ones((), np.float32)
        nodes += [
            helper.make_node(DECODE, [decode.input[0], one, *decode.input[2:]], [whole]),
            helper.make_node(POOL, [whole], [mean], name=node.name),
            helper.make_node("Mul", [mean, decode.input[1]], [node.output[0]]),
        ]
    return without_unread(with_nodes(model, nodes, constants))


def _decoded(node: onnx.NodeProto, index: GraphIndex) -> onnx.NodeProto | None:
    """What decodes the codes that an average in float reads, by one scale for all; None of another node."""
    decode = index.producers.get(node.input[0]) if node.op_type == POOL else None
    if decode is None or decode.op_type != DECODE or not _answers(node, index):
        return None
    scale = index.constants.get(decode.input[1])
    return decode if scale is not None and scale.size == 1 and scale.item() != 1 else None


def _answers(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether its result, as it is, is the graph's answer."""
    while node.output[0] not in index.outputs:
        readers = index.readers.get(node.output[0], [])
        if len(readers) != 1 or readers[0].op_type not in FLAT:
            return False
        node = readers[0]
    return True
