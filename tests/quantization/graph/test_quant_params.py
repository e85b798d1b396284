"""New numbers of a QDQ graph: no sum of int8 products leaves int32, where kernels wrap around."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.quant_params import quant_params, with_quant_params
from edgetl.runtime.session import open_graph

INT32_END = 2**31


def faint(path: Path) -> Path:
    """Between two layers, a Conv of 8 channels to 4, three of which have next to no weights and a large bias."""
    random = np.random.default_rng(0)
    first, weight = (random.standard_normal(shape).astype(np.float32) for shape in ((8, 3, 3, 3), (4, 8, 3, 3)))
    weight[:3] *= 1e-8
    stored = {"first": first, "v": np.eye(4, dtype=np.float32), "w": weight, "b": np.array([3, -3, 2, 0.1], np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["c"], name="first"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["a"], name="faint"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["logits"]),
    ]
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in (("x", (3, 16, 16)), ("logits", (4,)))
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", [given], [made], tensors)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("narrower", [1.0, 0.9, 0.3])
def test_no_sum_leaves_int32_when_steps_become_smaller(noise: Any, tmp_path: Path, narrower: float) -> None:
    quantize(faint(tmp_path / "f.onnx"), noise(16), target="x86", out=tmp_path / "q.onnx", tune_images=0, keep_names=True)
    model = onnx.load(tmp_path / "q.onnx")
    before = quant_params(model)
    activations = {name: (scale * narrower, zero) for name, (scale, zero) in before.activations.items()}
    made = with_quant_params(model, replace(before, activations=activations))
    stored, conv = constants(made), next(node for node in made.graph.node if node.op_type == "Conv" and len(node.input) == 3)
    readers = {output: node for node in made.graph.node for output in node.output}
    weight, bias = (stored[readers[name].input[0]].astype(np.int64) for name in conv.input[1:])
    most = np.abs(bias) + 255 * np.abs(weight).reshape(4, -1).sum(1)
    assert (most < INT32_END).all() and np.abs(bias).max() > 2**28  # it was near
    (values,) = before.biases.values()
    assert (np.sign(bias) == np.sign(values)).all()
    found = open_graph(made, threads=1).run(next(iter(noise(4).batches(4))).x)
    assert (np.sign(found[:, :3]) == [1, -1, 1]).all()
