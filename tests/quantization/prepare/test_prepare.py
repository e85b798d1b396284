"""Laws of graph preparation: the same function in a form that int8 kernels know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.core.errors import InputError
from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.session import open_session


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("options", [{}, {"keepdims": 1}, {"opset": 11}, {"opset": 17, "batch_norm": True}, {"batch": 1}])
def test_preparing_keeps_the_function(build_small: Callable[..., Path], noise: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    path = build_small(**options)
    onnx.save(prepare_graph(path), tmp_path / "prepared.onnx")
    (batch,) = noise(4).batches(4)
    np.testing.assert_allclose(open_session(tmp_path / "prepared.onnx").run(batch.x), open_session(path).run(batch.x), rtol=1e-4, atol=1e-5)


def test_spatial_means_become_global_average_pools(build_small: Callable[..., Path]) -> None:
    for keepdims in (0, 1):
        found = kinds(prepare_graph(build_small(keepdims=keepdims)))
        assert found["ReduceMean"] == 0 and found["GlobalAveragePool"] == 2


def test_batch_norm_is_folded_and_old_opsets_are_upgraded(build_small: Callable[..., Path]) -> None:
    model = prepare_graph(build_small(batch_norm=True, opset=11))
    assert kinds(model)["BatchNormalization"] == 0
    assert model.opset_import[0].version >= 13


def test_hard_swish_is_one_operator(small: Path) -> None:
    found = kinds(prepare_graph(small))
    assert (found["HardSwish"], found["HardSigmoid"], found["Mul"]) == (1, 1, 1)


def test_a_bias_that_others_read_is_one_of_each_layer(noise: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"]),
        helper.make_node("Conv", ["c", "v", "b"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Add", ["f", "b"], ["g"]),
        helper.make_node("Gemm", ["g", "h"], ["logits"]),
    ]
    shapes = {"w": (8, 3, 3, 3), "v": (8, 8, 3, 3), "b": (8,), "h": (8, 5)}
    stored = [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32), name) for name, shape in shapes.items()]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("input", ["n", 3, 16, 16]), ("logits", ["n", 5]))
    )
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "m.onnx",
    )
    assert len([tensor for tensor in prepare_graph(tmp_path / "m.onnx").graph.initializer if list(tensor.dims) == [8]]) == 3
    quantize(tmp_path / "m.onnx", noise(20), out=tmp_path / "int8.onnx")
    (batch,) = noise(20, seed=1).batches(20)
    assert sqnr_db(*(open_session(tmp_path / name).run(batch.x) for name in ("m.onnx", "int8.onnx"))) > 25


def test_means_over_channels_stay(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[1, 2], keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("m", TensorProto.FLOAT, ["n", 8])
    w = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 1, 1], [0.5] * 12)
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [w]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    assert kinds(prepare_graph(tmp_path / "m.onnx"))["ReduceMean"] == 1


def test_nothing_to_quantize_is_refused(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 192])
    graph = helper.make_graph([helper.make_node("Flatten", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "flat.onnx")
    with pytest.raises(InputError, match=r"expected flat.onnx to contain Conv, Gemm or MatMul, found only Flatten"):
        prepare_graph(tmp_path / "flat.onnx")
