"""HardSwish as one operator, which onnxruntime's optimizer takes apart."""

from __future__ import annotations

import onnx
from onnx import helper

from edgetl.quantization.graph.editing import attributes, with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass

HARD_SWISH_OPSET = 14


def hard_swish(index: GraphIndex) -> onnx.ModelProto:
    """HardSwish(x) for x * HardSigmoid(x; 1/6, 1/2): one operator in float instead of one in float and one in int8.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2. onnxruntime's optimizer takes HardSwish apart.
    """
    version = max((item.version for item in index.model.opset_import if item.domain == ""), default=1)
    gates = {node.output[0]: node for node in index.nodes if _is_hard_swish_gate(node)}
    read = index.times_read
    nodes: list[onnx.NodeProto] = []
    for node in index.nodes:
        gate = next((gates[name] for name in node.input if name in gates and read[name] == 1), None)
        if version < HARD_SWISH_OPSET or node.op_type != "Mul" or gate is None or gate.input[0] not in node.input:
            nodes.append(node)
            continue
        nodes.remove(gate)
        nodes.append(helper.make_node("HardSwish", [gate.input[0]], [node.output[0]], name=node.name))
    return with_nodes(index.model, nodes)


def _is_hard_swish_gate(node: onnx.NodeProto) -> bool:
    if node.op_type != "HardSigmoid":
        return False
    given = attributes(node)
    alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
    return bool(abs(alpha - 1 / 6) < 1e-6 and beta == 0.5)


HARD_SWISH = Pass(name="HardSwish", rewrite=hard_swish, keeps="same function up to float rounding", needs=frozenset({"HardSigmoid", "Mul"}))
