"""What onnxruntime runs, read from its profiler, and not from what the file asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgetl.runtime.kernels import kernels, placement


def qdq(path: Path, *, between: str) -> Path:
    """Two Convs on codes, `between` them an operator."""
    rng = np.random.default_rng(0)
    stored = {"s": np.float32(0.02), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0)}
    stored |= {name: rng.integers(-90, 90, (8, channels, 3, 3)).astype(np.int8) for name, channels in (("w1", 3), ("w2", 8))}
    nodes: list[onnx.NodeProto] = []

    def pair(name: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"]))
        return f"{name}_d"

    for index, (source, target) in enumerate((("x", "a"), ("b", "c")), start=1):
        nodes.append(helper.make_node("DequantizeLinear", [f"w{index}", "ws", "wz"], [f"w{index}_d"]))
        nodes.append(helper.make_node("Conv", [pair(source), f"w{index}_d"], [target], name=f"conv{index}"))
        if index == 1:
            nodes.append(helper.make_node(between, [pair("a")], ["b"], name="between"))
    nodes += [
        helper.make_node("GlobalAveragePool", [pair("c")], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["n", 3, 16, 16]), ("logits", ["n", 8]))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "qdq", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_what_is_fused_counts_as_int8(tmp_path: Path) -> None:
    found = kernels(qdq(tmp_path / "fused.onnx", between="Sigmoid"))
    assert [kernel.kind for kernel in found if kernel.kind.startswith("QLinear")] == ["QLinearConv", "QLinearSigmoid", "QLinearConv"]
    assert sum(kernel.share for kernel in found) == pytest.approx(1, abs=1e-3)
    summary = placement(found)
    assert summary.int8 > 0.5 and not summary.float_layers and not summary.islands
    assert summary.int8 + summary.conversion + summary.floating == pytest.approx(1, abs=1e-3)


def test_an_operator_without_an_int8_kernel_is_an_island(tmp_path: Path) -> None:
    summary = placement(kernels(qdq(tmp_path / "island.onnx", between="Elu")))
    assert sorted(kernel.kind for kernel in summary.islands) == ["DequantizeLinear", "QuantizeLinear"]
    assert summary.floating > 0


def test_float_layers_are_named(tmp_path: Path) -> None:
    """A Conv whose output is not quantized again is computed in float, whatever its inputs are."""
    model = onnx.load(qdq(tmp_path / "fused.onnx", between="Sigmoid"))
    for node in model.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.input[0] = "c"
    kept = [node for node in model.graph.node if not node.output[0].startswith("c_")]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, tmp_path / "float.onnx")
    (layer,) = placement(kernels(tmp_path / "float.onnx")).float_layers
    assert layer.name.startswith("conv2") and layer.share > 0
