"""Layers in float: what onnxruntime makes of them, and that a Max keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.qdq import as_qdq
from edgetl.quantization.layout.float_layers import FLOAT_LAYERS
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.search.search import with_neighbours
from edgetl.runtime.cpu import saturates_here
from edgetl.runtime.kernels import kernels

from ..conftest import bounded_layers

PLAIN, FULL = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, 16, 16), dtype=np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32], level: ort.GraphOptimizationLevel) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = level, 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(found)


def mixed(path: Path, *floating: str) -> onnx.ModelProto:
    """Three layers in int8, but for `floating`."""
    baseline = Baseline.of(prepare_graph(bounded_layers(path)), Arrays(images(32)), "portable", batch_size=8, threads=1)
    layers = with_neighbours(baseline.model, [*baseline.in_float, *floating])
    return as_qdq(baseline.model, baseline.min_max_ranges, floating=layers)


def layer_kinds(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    """How many kernels of each kind compute the three layers."""
    path.write_bytes(model.SerializeToString())
    kinds = [kernel.kind for kernel in kernels(path)]
    return {kind: kinds.count(kind) for kind in ("Conv", "FusedConv", "QLinearConv")}


def test_a_layer_in_float_runs_in_float(tmp_path: Path) -> None:
    given = mixed(tmp_path / "a.onnx", "second")
    kept = FLOAT_LAYERS(given)
    before, after = (layer_kinds(graph, tmp_path / "b.onnx") for graph in (given, kept))
    assert after["Conv"] + after["FusedConv"] == before["Conv"] + before["FusedConv"] + 1 or before == after  # onnxruntime before 1.21
    assert after["QLinearConv"] == layer_kinds(mixed(tmp_path / "c.onnx"), tmp_path / "b.onnx")["QLinearConv"] - 1


def test_codes_are_the_same_where_onnxruntime_does_as_the_file_says(tmp_path: Path) -> None:
    given, x = mixed(tmp_path / "a.onnx", "second"), 3 * images(16)
    np.testing.assert_array_equal(run(FLOAT_LAYERS(given), x, PLAIN), run(given, x, PLAIN))


@pytest.mark.skipif(saturates_here(), reason="needs a CPU whose int8 sums do not saturate")
def test_optimizations_cost_a_layer_in_float_nothing(tmp_path: Path) -> None:
    given, x = FLOAT_LAYERS(mixed(tmp_path / "a.onnx", "second")), images(16)
    wanted = run(onnx.load(bounded_layers(tmp_path / "float.onnx")), x, FULL)
    plain, full = (sqnr_db(wanted, run(given, x, level)) for level in (PLAIN, FULL))
    assert abs(full - plain) < 1


def test_all_in_int8_is_left_alone(tmp_path: Path) -> None:
    given = mixed(tmp_path / "a.onnx")
    assert FLOAT_LAYERS(given) is given


@pytest.mark.parametrize("read", ["once", "twice"])
def test_what_onnxruntime_leaves_alone_is_left_alone(read: str) -> None:
    """A result that somebody else reads too, and weights that are computed."""
    node, values = helper.make_node, {"w": np.ones((2, 2, 1, 1)), "s": np.array(0.1)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("Abs", ["w"], ["computed"]),
        node("Conv", ["xd", "w" if read == "twice" else "computed"], ["c"]),
        node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        node("DequantizeLinear", ["cq", "s", "z"], ["cd"]),
        node("Add", ["cd", "c" if read == "twice" else "cd"], ["y"]),
    ]
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    stored.append(numpy_helper.from_array(np.uint8(7), "z"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=[helper.make_opsetid("", 20)])
    assert FLOAT_LAYERS(model) is model
