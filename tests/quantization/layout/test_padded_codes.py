"""Pad copies codes where it can, and gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.engine import quantize
from edgetl.quantization.layout.padded_codes import PADDED_CODES
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_graph


def network(path: Path, *, mode: str = "constant", value: float | None = None) -> Path:
    """A residual block whose shortcut pads its channels, 8 to 12, or its edges; 16 px in, 4 logits out."""
    rng = np.random.default_rng(0)
    channels = mode == "constant"
    shapes = {"a": (8, 3, 3, 3), "b": (12 if channels else 8, 8, 3, 3), "c": (12 if channels else 8, 4)}
    stored = [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32) / 4, name) for name, shape in shapes.items()]
    amounts = [0, 2, 0, 0, 0, 2, 0, 0] if channels else [0, 0, 1, 1, 0, 0, 1, 1]
    stored.append(numpy_helper.from_array(np.array(amounts, np.int64), "amounts"))
    filled = [] if value is None else ["value"]
    stored += [numpy_helper.from_array(np.array(value, np.float32), name) for name in filled]
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x1"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["x1", "b"], ["x2"], name="second", pads=[1 if channels else 2] * 4),
        helper.make_node("Pad", ["x1", "amounts", *filled], ["x3"], name="pad", mode=mode),
        helper.make_node("Add", ["x2", "x3"], ["x4"], name="add"),
        helper.make_node("GlobalAveragePool", ["x4"], ["x5"], name="mean"),
        helper.make_node("Flatten", ["x5"], ["x6"], name="flat"),
        helper.make_node("Gemm", ["x6", "c"], ["logits"], name="classifier"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("value", [None, 0.0, 0.7])
def test_the_same_bits_in_fewer_steps(noise: Any, tmp_path: Path, value: float | None) -> None:
    start = Baseline.of(prepare_graph(network(tmp_path / "n.onnx", value=value)), noise(12), "portable", batch_size=4, threads=1)
    before, after = start.by_extremes, PADDED_CODES(start.by_extremes)
    assert len(after.graph.node) < len(before.graph.node)
    (batch,) = noise(30, seed=1).batches(30)
    np.testing.assert_array_equal(open_graph(before).run(batch.x), open_graph(after).run(batch.x))


def test_onnxruntime_runs_it_on_codes(noise: Any, tmp_path: Path) -> None:
    record = quantize(network(tmp_path / "n.onnx"), noise(12), out=tmp_path / "int8.onnx", tune_images=0)
    assert [kernel.on for kernel in kernels(tmp_path / "int8.onnx") if kernel.kind == "Pad"] == ["int8"]
    assert record.int8["Pad"] == 1 and record.in_float == ()


@pytest.mark.parametrize("options", [{"mode": "edge"}, {"value": -1e3}])
def test_edges_and_values_far_from_the_others_are_left_alone(noise: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    start = Baseline.of(prepare_graph(network(tmp_path / "n.onnx", **options)), noise(12), "portable", batch_size=4, threads=1)
    assert PADDED_CODES(start.by_extremes) == start.by_extremes
