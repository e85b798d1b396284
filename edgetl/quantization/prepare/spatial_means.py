"""Spatial means as GlobalAveragePool, which has an int8 kernel."""

from __future__ import annotations

import onnx
from onnx import helper

from edgetl.quantization.graph.editing import attributes, with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass

SPATIAL = [2, 3]


def spatial_means(index: GraphIndex) -> onnx.ModelProto:
    """ReduceMean over height and width as GlobalAveragePool, which has an int8 kernel.

    1. keepdims=1: GlobalAveragePool.
    2. keepdims=0: GlobalAveragePool, then Flatten from axis 1: [n, c, 1, 1] -> [n, c].

    Means over other axes, or of values that are not known to be [n, c, h, w], stay.
    """
    nodes: list[onnx.NodeProto] = []
    for node in index.nodes:
        if node.op_type != "ReduceMean" or len(index.shapes.get(node.input[0], ())) != 4 or _axes(node, index) != SPATIAL:
            nodes.append(node)
            continue
        kept = attributes(node).get("keepdims", 1)
        pooled = node.output[0] if kept else f"{node.output[0]}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not kept:
            nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}_flat", axis=1))
    return with_nodes(index.model, nodes)


def _axes(node: onnx.NodeProto, index: GraphIndex) -> list[int]:
    axes = attributes(node).get("axes", [])
    if len(node.input) > 1 and node.input[1] in index.constants:
        axes = index.constants[node.input[1]].ravel()
    return sorted(int(axis) % 4 for axis in axes)


SPATIAL_MEANS = Pass(
    name="spatial means", rewrite=spatial_means, keeps="same function up to float rounding", needs=frozenset({"ReduceMean"})
)
