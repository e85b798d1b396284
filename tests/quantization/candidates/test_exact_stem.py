"""First layers on whole numbers: every order of summation gives the same bits, and the function stays nearly what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.exact_stem import StemBlock, exact_stem_nodes, on_whole_numbers, stem_blocks
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.learn.operators import OPERATORS
from edgetl.quantization.learn.simulation import Simulation
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.precision.placement import WHOLE_NUMBERS
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.engine import start
from edgetl.runtime.kernels import kernels
from edgetl.settings import Target

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def network(path: Path, *, activation: str = "HardSwish", behind: str = "", bias: bool = True) -> onnx.ModelProto:
    """Sums of 27 and of 9 products, then of 72; 16 px in, prepared."""
    rng = np.random.default_rng(0)
    shapes = {"a": (8, 3, 3, 3), "b": (8, 1, 3, 3), "c": (8, 8, 3, 3), "d": (8, 5), "e": (8,)}
    stored = [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32) / 3, name) for name, shape in shapes.items()]
    stored += [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0), ("top", 1.5))]
    limits = ["zero", "top"] if activation == "Clip" else []
    nodes = [
        helper.make_node("Conv", ["input", "a", *(["e"] if bias else [])], ["x1"], name="first", pads=[1] * 4, strides=[2, 2]),
        helper.make_node(activation, ["x1", *limits], ["x2"], name="activation"),
        helper.make_node("Conv", ["x2", "b"], ["x3"], name="depthwise", pads=[1] * 4, group=8),
        helper.make_node("Relu", ["x3"], ["x4"], name="relu"),
        *([helper.make_node("MaxPool", ["x4"], ["pooled"], name="pool", kernel_shape=[2, 2])] if behind == "MaxPool" else []),
        helper.make_node("Conv", ["pooled" if behind == "MaxPool" else "x4", "c"], ["x5"], name="large", pads=[1] * 4),
        *([helper.make_node("Add", ["x4", "x5"], ["x6"], name="add")] if behind == "Add" else []),
        helper.make_node("GlobalAveragePool", ["x6" if behind == "Add" else "x5"], ["x7"], name="mean"),
        helper.make_node("Flatten", ["x7"], ["x8"], name="flat"),
        helper.make_node("Gemm", ["x8", "d"], ["logits"], name="classifier"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return prepare_graph(path)


def drawn(count: int = 32) -> NDArray[np.float32]:
    """float32 [count, 3, 16, 16]."""
    return np.random.default_rng(5).standard_normal((count, 3, 16, 16), dtype=np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32], outputs: tuple[str, ...] = ()) -> list[NDArray[np.float32]]:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    if outputs:
        del watched.graph.output[:]
        watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    found: list[NDArray[np.float32]] = start(watched.SerializeToString()).run(None, {"input": x})
    return found


def kinds(stage: StemBlock) -> list[str]:
    return [node.op_type for node in stage.nodes]


def test_only_what_sums_few_products_and_has_one_reader(tmp_path: Path) -> None:
    model = network(tmp_path / "a.onnx")
    assert [kinds(stage) for stage in stem_blocks(GraphIndex(model), "portable")] == [["Conv", "HardSwish"], ["Conv", "Relu"]]
    assert kinds(stem_blocks(GraphIndex(network(tmp_path / "c.onnx", behind="MaxPool")), "portable")[1]) == ["Conv", "Relu", "MaxPool"]
    assert not stem_blocks(GraphIndex(network(tmp_path / "b.onnx", activation="Sigmoid")), "web")  # rounds as each CPU likes


def test_not_where_the_next_would_be_slower(tmp_path: Path) -> None:
    assert not stem_blocks(GraphIndex(network(tmp_path / "a.onnx", behind="Add")), "portable")


@pytest.mark.parametrize("target", ["x86", "x86-avx2", "arm64"])
def test_not_for_targets_of_one_cpu(tmp_path: Path, target: Target) -> None:
    assert not stem_blocks(GraphIndex(network(tmp_path / "a.onnx")), target)


@pytest.mark.parametrize("activation", ["HardSwish", "Clip", "Relu"])
@pytest.mark.parametrize(("bias", "behind"), [(True, ""), (False, ""), (True, "MaxPool")])
def test_nearly_the_same_function(tmp_path: Path, activation: str, bias: bool, behind: str) -> None:
    model, x = network(tmp_path / "a.onnx", activation=activation, bias=bias, behind=behind), drawn(80)
    found = on_whole_numbers(model, stem_blocks(GraphIndex(model), "portable"), x[:64])
    assert len(exact_stem_nodes(found)) == (12 if activation == "HardSwish" else 8) + 2 * bool(behind)
    (wanted,), (answers,) = run(model, x[64:]), run(found, x[64:])
    assert 10 * np.log10(np.square(wanted).sum() / np.square(answers - wanted).sum()) > 50


@pytest.mark.parametrize("activation", ["HardSwish", "Clip"])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_sums_are_exact(tmp_path: Path, activation: str, size: float) -> None:
    """Torch sums in another order than onnxruntime, and then in float64: three times the same bits, whatever goes in."""
    model = network(tmp_path / "a.onnx", activation=activation)
    found = on_whole_numbers(model, stem_blocks(GraphIndex(model), "portable"), drawn())
    x, stored = drawn(8) * np.float32(size), GraphIndex(found).constants
    for conv, groups, stride in zip([node for node in found.graph.node if node.op_type == "Conv"], (1, 8), (2, 1), strict=False):
        given, sums = run(found, x, (conv.input[0], conv.output[0]))
        assert np.array_equal(given, np.rint(given)) and np.abs(given).max() <= 2**12
        weight, bias = (torch.from_numpy(stored[name].copy()) for name in conv.input[1:])
        for kind in (torch.float32, torch.float64):
            numbers, weights, biases = (each.to(kind) for each in (torch.from_numpy(given), weight, bias))
            other = torch.nn.functional.conv2d(numbers, weights, biases, padding=1, groups=groups, stride=stride)
            np.testing.assert_array_equal(sums, other.numpy())


def test_float_sums_alone_are_not(tmp_path: Path) -> None:
    """What it is for: the same Conv of the float graph differs between the two."""
    model, x = network(tmp_path / "a.onnx"), drawn(8)
    (sums,), stored = run(model, x, ("x1",)), GraphIndex(model).constants
    weight, bias = (torch.from_numpy(stored[name].astype(np.float64)) for name in ("a", "e"))
    exact = torch.nn.functional.conv2d(torch.from_numpy(x).double(), weight, bias, padding=1, stride=2)
    assert (sums != exact.float().numpy()).any()


def test_photos_keep_their_levels(tmp_path: Path) -> None:
    model = network(tmp_path / "a.onnx")
    codes = np.random.default_rng(1).integers(0, 256, (40, 3, 16, 16))
    x = ((codes / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)
    found = on_whole_numbers(model, stem_blocks(GraphIndex(model), "portable"), x)
    (numbers,) = run(found, x, (next(node for node in found.graph.node if node.op_type == "Conv").input[0],))
    np.testing.assert_array_equal(numbers, codes - np.rint(MEAN * 255)[:, None, None])
    (wanted,), (sums,) = run(model, x, ("x4",)), run(found, x, ("x4",))
    inside = np.s_[:, :, 2:, 2:]  # at the border stands the level nearest to 0
    assert np.abs(sums - wanted)[inside].max() < 0.01 * np.abs(wanted).max()


def test_torch_runs_it_to_the_bit(tmp_path: Path) -> None:
    assert "Round" in OPERATORS
    model, x = network(tmp_path / "a.onnx"), drawn(8)
    found = on_whole_numbers(model, stem_blocks(GraphIndex(model), "portable"), x)
    with torch.no_grad():
        _, seen = Simulation(found)(torch.from_numpy(x), ["x4"])
    np.testing.assert_array_equal(seen["x4"].numpy(), run(found, x, ("x4",))[0])


def test_portable_int8_has_them_and_says_so(tmp_path: Path) -> None:
    network(tmp_path / "a.onnx")
    record = quantize(tmp_path / "a.onnx", Arrays(drawn(40)), target="portable", out=tmp_path / "int8.onnx", tune_images=0)
    assert {(each.kind, each.count) for each in record.in_float if each.why == WHOLE_NUMBERS} >= {("Conv", 2), ("Round", 2)}
    written = onnx.load(tmp_path / "int8.onnx")
    first = next(node for node in written.graph.node if node.op_type == "QuantizeLinear")
    maker = next(node for node in written.graph.node if first.input[0] in node.output)
    assert maker.op_type == "Relu"  # codes begin behind the last of them


def test_pooled_floats_become_codes_behind_the_pool(tmp_path: Path) -> None:
    """Else onnxruntime makes codes in front of it, and its MaxPool of codes with channels first is slow."""
    network(tmp_path / "a.onnx", behind="MaxPool")
    quantize(tmp_path / "a.onnx", Arrays(drawn(40)), target="portable", out=tmp_path / "int8.onnx", tune_images=0)
    assert [kernel.on for kernel in kernels(tmp_path / "int8.onnx") if kernel.kind.endswith("MaxPool")] == ["float"]
