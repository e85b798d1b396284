"""A bias for each layer: its codes have the layer's scale. Exporters store equal ones once."""

from __future__ import annotations

import onnx

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass


def own_biases(index: GraphIndex) -> onnx.ModelProto:
    """A bias that something else reads too, as a copy for each layer."""
    stored = index.constants
    nodes, copies = [], {}
    for position, node in enumerate(index.nodes):
        bias = node.input[2] if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 else ""
        if index.times_read[bias] > 1 and bias in stored:
            copies[f"{bias}_of_{position}"] = stored[bias]
            node = onnx.NodeProto.FromString(node.SerializeToString())
            node.input[2] = f"{bias}_of_{position}"
        nodes.append(node)
    return with_nodes(index.model, nodes, copies) if copies else index.model


OWN_BIASES = Pass(name="own biases", rewrite=own_biases, keeps="same bits")
