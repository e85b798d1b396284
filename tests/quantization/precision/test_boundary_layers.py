"""Which first and last layers stay in float, and that they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.precision.boundary_layers import boundary_layers, first_layers, last_layers
from edgetl.quantization.precision.placement import ENDS
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.search.search import Budget
from edgetl.settings import Target

FIRST = ("first", "relu", "depthwise", "sigmoid")


def network(path: Path, *, kernel: int = 3, residual: bool = False, classes: int = 5) -> Path:
    """Sums of 27 and 9 products (`first` has more with a larger kernel), then 72; 16 px in, 864 weights before the classifier."""
    rng = np.random.default_rng(0)
    shapes = {"a": (8, 3, kernel, kernel), "b": (8, 1, 3, 3), "c": (8, 8, 3, 3), "d": (8, classes)}
    stored = [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32) / 3, name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x1"], name="first", pads=[kernel // 2] * 4),
        helper.make_node("Relu", ["x1"], ["x2"], name="relu"),
        helper.make_node("Conv", ["x2", "b"], ["x3"], name="depthwise", pads=[1] * 4, group=8),
        helper.make_node("Sigmoid", ["x3"], ["x4"], name="sigmoid"),
        helper.make_node("Conv", ["x4", "c"], ["x5"], name="large", pads=[1] * 4),
        *([helper.make_node("Add", ["x4", "x5"], ["x6"], name="add")] if residual else []),
        helper.make_node("GlobalAveragePool", ["x6" if residual else "x5"], ["x7"], name="mean"),
        helper.make_node("Flatten", ["x7"], ["x8"], name="flat"),
        helper.make_node("Gemm", ["x8", "d"], ["logits"], name="classifier"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("target", get_args(Target))
def test_small_sums_from_the_input_on(tmp_path: Path, target: Target) -> None:
    assert first_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx"))), target) == (FIRST if target in ("x86", "x86-avx2") else ())


def test_a_larger_first_layer_has_none(tmp_path: Path) -> None:
    assert first_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx", kernel=5))), "x86") == ()
    assert first_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx", kernel=5, residual=True))), "x86") == ()


def test_residual_sums_carry_them_on(tmp_path: Path) -> None:
    assert first_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx", residual=True))), "x86") == (*FIRST, "add")


@pytest.mark.parametrize("target", get_args(Target))
def test_a_classifier_of_few_weights_and_the_mean_before_it(tmp_path: Path, target: Target) -> None:
    last = last_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx", classes=1))), target)
    assert last == (("mean", "flat", "classifier") if target in ("x86", "x86-avx2") else ())


def test_a_classifier_of_many_weights_does_not(tmp_path: Path) -> None:
    assert last_layers(GraphIndex(prepare_graph(network(tmp_path / "n.onnx", classes=2))), "x86") == ()


REAL = [("mobilenet_v3_small_cifar64", 7, 0), ("resnet20_cifar10", 1, 3), ("squeezenet1_0_imagenet", 0, 0)]


@pytest.mark.parametrize(("name", "convs", "last"), REAL)
def test_real_networks(shared: Path, name: str, convs: int, last: int) -> None:
    model = prepare_graph(shared / "models" / f"{name}.onnx")
    found = first_layers(GraphIndex(model), "x86")
    kinds = [node.op_type for node in model.graph.node if node.name in found]
    assert kinds.count("Conv") == convs
    assert kinds.count("Add") == (2 if name == "resnet20_cifar10" else 0)  # of three in its first group
    assert len(last_layers(GraphIndex(model), "x86")) == last
    assert boundary_layers(GraphIndex(model), "x86") == (*found, *last_layers(GraphIndex(model), "x86"))


@pytest.mark.parametrize("budget", [None, Budget(max_kb=1e6, min_agreement=1.0)])
def test_they_are_in_float_whatever_else_is(noise: Any, tmp_path: Path, budget: Budget | None) -> None:
    record = quantize(network(tmp_path / "n.onnx"), noise(40), target="x86", out=tmp_path / "int8.onnx", tune_images=0, budget=budget)
    named = ("first (Conv)", "relu (Relu)", "depthwise (Conv)", "sigmoid (Sigmoid)")
    assert record.ends == named and not {*record.floating} & {*named}
    graph = onnx.load(tmp_path / "int8.onnx").graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    (large,) = (node for node in graph.node if node.op_type == "Conv" and makers.get(node.input[1]) == "DequantizeLinear")
    assert makers[large.input[0]] == "DequantizeLinear"
    kinds = [node.op_type for node in graph.node if node.op_type != "DequantizeLinear"]
    assert kinds[:5] == ["Conv", "Relu", "Conv", "Sigmoid", "QuantizeLinear"]
    assert record.int8 == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1}
    assert [(each.count, each.kind, each.why) for each in record.in_float] == [(2, "Conv", ENDS), (1, "Relu", ENDS), (1, "Sigmoid", ENDS)]
