"""Rewrites of float graphs: the same function in operators that have int8 kernels, or in fewer of them.

Each takes a graph whose types are known (`prepare.typed`) and gives a new one.
"""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import helper, numpy_helper

from edgetl.quantization.graph.layers import constants, times_read, with_nodes

SPATIAL = [2, 3]
HARD_SWISH_OPSET = 14


def spatial_means(model: onnx.ModelProto) -> onnx.ModelProto:
    """ReduceMean over height and width as GlobalAveragePool, which has an int8 kernel.

    1. keepdims=1: GlobalAveragePool.
    2. keepdims=0: GlobalAveragePool, then Flatten from axis 1: [n, c, 1, 1] -> [n, c].

    Means over other axes, or of values that are not known to be [n, c, h, w], stay.
    """
    ranks, constants = ranks_of(model), {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4 or _axes(node, constants) != SPATIAL:
            nodes.append(node)
            continue
        kept = helper.get_node_attr_value(node, "keepdims") if _has(node, "keepdims") else 1
        pooled = node.output[0] if kept else f"{node.output[0]}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not kept:
            nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}_flat", axis=1))
    return with_nodes(model, nodes)


def own_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A bias that something else reads too, as a copy for each layer: its codes have the layer's scale. Exporters store equal ones once."""
    stored = constants(model)
    uses = Counter(name for node in model.graph.node for name in node.input)
    nodes, copies = [], {}
    for index, node in enumerate(model.graph.node):
        bias = node.input[2] if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 else ""
        if uses[bias] > 1 and bias in stored:
            copies[f"{bias}_of_{index}"] = stored[bias]
            node = onnx.NodeProto.FromString(node.SerializeToString())
            node.input[2] = f"{bias}_of_{index}"
        nodes.append(node)
    return with_nodes(model, nodes, copies)


def hard_swish(model: onnx.ModelProto) -> onnx.ModelProto:
    """HardSwish(x) for x * HardSigmoid(x; 1/6, 1/2): one operator in float instead of one in float and one in int8.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2. onnxruntime's optimizer takes HardSwish apart.
    """
    version = max((item.version for item in model.opset_import if item.domain == ""), default=1)
    gates = {node.output[0]: node for node in model.graph.node if _is_hard_swish_gate(node)}
    read = times_read(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        gate = next((gates[name] for name in node.input if name in gates and read[name] == 1), None)
        if version < HARD_SWISH_OPSET or node.op_type != "Mul" or gate is None or gate.input[0] not in node.input:
            nodes.append(node)
            continue
        nodes.remove(gate)
        nodes.append(helper.make_node("HardSwish", [gate.input[0]], [node.output[0]], name=node.name))
    return with_nodes(model, nodes)


def _is_hard_swish_gate(node: onnx.NodeProto) -> bool:
    if node.op_type != "HardSigmoid":
        return False
    alpha = helper.get_node_attr_value(node, "alpha") if _has(node, "alpha") else 0.2
    beta = helper.get_node_attr_value(node, "beta") if _has(node, "beta") else 0.5
    return abs(alpha - 1 / 6) < 1e-6 and beta == 0.5


def _axes(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[int]:
    if _has(node, "axes"):
        axes = list(helper.get_node_attr_value(node, "axes"))
    elif len(node.input) > 1 and node.input[1] in constants:
        axes = [int(axis) for axis in numpy_helper.to_array(constants[node.input[1]]).ravel()]
    else:
        axes = []
    return sorted(axis % 4 for axis in axes)


def ranks_of(model: onnx.ModelProto) -> dict[str, int]:
    """How many axes the values of a typed graph have, by name."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def _has(node: onnx.NodeProto, attribute: str) -> bool:
    return any(item.name == attribute for item in node.attribute)
