"""A name of its own for every node: the QDQ writer tells nodes apart by name."""

from __future__ import annotations

import onnx

from edgetl.quantization.graph.passes import Pass


def with_node_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    taken: set[str] = set()
    for index, node in enumerate(result.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
    return result


NODE_NAMES = Pass(name="node names", rewrite=lambda index: with_node_names(index.model), keeps="same bits")
