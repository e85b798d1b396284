"""In networks with layer normalization, products with weights run in int8, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.precision.float_around_layernorm import without_weights
from edgetl.quantization.precision.placement import NORMALIZED
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_session


def transformer(path: Path) -> Path:
    """Patches of 4 px by a Conv, one block of attention and one of two layers, a mean over tokens: 16 px in, 5 logits out."""
    rng = np.random.default_rng(0)
    shapes = {"patch": (32, 3, 4, 4), "q": (32, 32), "k": (32, 32), "v": (32, 32), "up": (32, 64), "down": (64, 32), "head": (32, 5)}
    weights = {
        name: rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(np.prod(shape[1:]))) for name, shape in shapes.items()
    }
    weights |= {"one": np.ones(32, np.float32), "nought": np.zeros(32, np.float32)}
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    stored += [numpy_helper.from_array(np.array(value), name) for name, value in {"tokens": [0, 32, 16], "middle": [1]}.items()]

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], name=f"node_{output}", **attributes)

    nodes = [
        node("Conv", "input patch", "patches", strides=[4, 4]),
        node("Reshape", "patches tokens", "rows"),
        node("Transpose", "rows", "x", perm=[0, 2, 1]),
        node("LayerNormalization", "x one nought", "n1"),
        *(node("MatMul", f"n1 {name}", f"{name}1") for name in "qkv"),
        node("Transpose", "k1", "kt", perm=[0, 2, 1]),
        node("MatMul", "q1 kt", "likeness"),
        node("Softmax", "likeness", "attention"),
        node("MatMul", "attention v1", "read"),
        node("Add", "x read", "x2"),
        node("LayerNormalization", "x2 one nought", "n2"),
        node("MatMul", "n2 up", "wide"),
        node("Gelu", "wide", "bent"),
        node("MatMul", "bent down", "narrow"),
        node("Add", "x2 narrow", "x3"),
        node("ReduceMean", "x3 middle", "mean", keepdims=0),
        node("Gemm", "mean head", "logits"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])]
    graph = helper.make_graph(nodes, "transformer", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_only_products_with_weights_run_in_int8(noise: Any, tmp_path: Path) -> None:
    path, out = transformer(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    record = quantize(path, noise(40), out=out)
    assert record.int8 == {"Conv": 1, "Gemm": 1, "MatMul": 5}
    named = {(each.kind, each.count, each.why) for each in record.in_float}
    assert {("Add", 2, NORMALIZED), ("MatMul", 2, NORMALIZED), ("LayerNormalization", 2, "no int8 kernel")} <= named
    (batch,) = noise(50, seed=1).batches(50)
    assert sqnr_db(open_session(path).run(batch.x), open_session(out).run(batch.x)) > 20
    ran = [kernel.kind for kernel in kernels(out, runs=1)]
    assert ran.count("MatMulIntegerToFloat") == 5  # no codes between a product and what reads it in float
    assert not {"QLinearAdd", "QLinearMatMul", "QLinearSoftmax"} & {*ran}


@pytest.mark.parametrize("opset", [11, 20])
def test_other_networks_have_none(build_small: Any, opset: int) -> None:
    assert without_weights(GraphIndex(prepare_graph(build_small(opset=opset)))) == ()
