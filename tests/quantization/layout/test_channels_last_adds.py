"""Residual sums in float have channels last where int8 Convs are on both sides, and give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.layout.channels_last_adds import CHANNELS_LAST_ADDS
from edgetl.quantization.precision.boundary_layers import MOST_SUMS
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_graph


def network(path: Path, *, blocks: int = 2, size: int | str = 16) -> Path:
    """A small Conv and residual blocks behind it, of two Convs each; then another, a mean and 4 logits."""
    rng = np.random.default_rng(0)
    shapes = {"a": (16, 3, 3, 3), "z": (16, 16, 3, 3), "c": (16, 4)}
    shapes |= {f"{name}{block}": (16, 16, 3, 3) for block in range(blocks) for name in ("b", "d")}
    stored = [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32) / 6, name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["stem_raw"], name="stem", pads=[1] * 4),
        helper.make_node("Relu", ["stem_raw"], ["x0"], name="stem_relu"),
    ]
    for block in range(blocks):
        before, behind = f"x{block}", f"x{block + 1}"
        nodes += [
            helper.make_node("Conv", [before, f"b{block}"], [f"{behind}_b"], name=f"b{block}_conv", pads=[1] * 4),
            helper.make_node("Relu", [f"{behind}_b"], [f"{behind}_r"], name=f"b{block}_relu"),
            helper.make_node("Conv", [f"{behind}_r", f"d{block}"], [f"{behind}_d"], name=f"d{block}_conv", pads=[1] * 4),
            helper.make_node("Add", [f"{behind}_d", before], [f"{behind}_s"], name=f"add{block}"),
            helper.make_node("Relu", [f"{behind}_s"], [behind], name=f"add{block}_relu"),
        ]
    nodes += [
        helper.make_node("Conv", [f"x{blocks}", "z"], ["y1"], name="last", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["y1"], ["y2"], name="mean"),
        helper.make_node("Flatten", ["y2"], ["y3"], name="flat"),
        helper.make_node("Gemm", ["y3", "c"], ["logits"], name="classifier"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def int8(path: Path, noise: Any, target: Any = "x86") -> onnx.ModelProto:
    return Baseline.of(prepare_graph(path), noise(12), target, batch_size=4, threads=1).by_extremes


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_same_bits_with_fewer_conversions(noise: Any, tmp_path: Path, blocks: int) -> None:
    before = int8(network(tmp_path / "n.onnx", blocks=blocks), noise)
    after = CHANNELS_LAST_ADDS(before)
    (batch,) = noise(30, seed=1).batches(30)
    np.testing.assert_array_equal(open_graph(before).run(batch.x), open_graph(after).run(batch.x))
    ran = []
    for graph in (before, after):
        onnx.save(graph, tmp_path / "graph.onnx")
        ran.append([kernel.kind for kernel in kernels(tmp_path / "graph.onnx", runs=1)])
    sums = min(blocks, MOST_SUMS)
    assert [(kinds.count("Add"), kinds.count("QLinearAdd")) for kinds in ran] == [(sums, blocks - sums)] * 2
    assert ran[1].count("Transpose") < ran[0].count("Transpose")
    assert ran[0].count("QuantizeLinear") - ran[1].count("QuantizeLinear") == sums  # each sum's was undone at once


def test_what_is_on_codes_or_of_any_size_is_left_alone(noise: Any, tmp_path: Path) -> None:
    codes = int8(network(tmp_path / "codes.onnx"), noise, "portable")
    free = int8(network(tmp_path / "free.onnx", size="size"), noise)
    assert CHANNELS_LAST_ADDS(codes) is codes and CHANNELS_LAST_ADDS(free) is free


def test_so_is_what_a_branch_reads(noise: Any, tmp_path: Path) -> None:
    model = int8(network(tmp_path / "n.onnx", blocks=1), noise)
    value = helper.make_tensor_value_info("seen", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["x1"], ["seen"])], "branch", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["watched"], then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("watched", TensorProto.FLOAT, None))
    assert CHANNELS_LAST_ADDS(model) is model
