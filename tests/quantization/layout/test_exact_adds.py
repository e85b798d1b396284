"""Adds of codes round alike, however a CPU computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.trials import answers
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.layout.exact_adds import EXACT_ADDS, UNITS, adds
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels


def ratios(model: onnx.ModelProto) -> list[tuple[np.float32, np.float32]]:
    """Of the scales of each Add, divided as onnxruntime does it."""
    stored = GraphIndex(model).constants
    return [(stored[first] / stored[output], stored[second] / stored[output]) for first, second, output in adds(GraphIndex(model))]


def sums(first: np.float32, second: np.float32) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Of all differences of two codes from their zero points: rounded in float32, and in whole numbers of 2^-14."""
    i, j = np.meshgrid(np.arange(-255, 256), np.arange(-255, 256))
    return first * i.astype(np.float32) + second * j.astype(np.float32), round(float(first) * UNITS) * i + round(float(second) * UNITS) * j


def unlike(first: np.float32, second: np.float32) -> int:
    """How many sums are other codes where they are rounded in float32, to even, than in whole numbers, up."""
    floats, whole = sums(first, second)
    return int((np.rint(floats) != (whole + UNITS // 2) // UNITS).sum())


@pytest.fixture
def start(small: Path, noise: Any) -> Baseline:
    return Baseline.of(prepare_graph(small), noise(20), "portable", batch_size=20, threads=1)


def test_adds_round_alike_in_floats_and_in_whole_numbers(start: Baseline) -> None:
    (before,), (after,) = ratios(start.by_extremes), ratios(EXACT_ADDS(start.by_extremes))
    assert not unlike(*after)
    assert after == pytest.approx(before, rel=0.05)
    halves = (np.float32(0.75), np.float32(0.5))
    assert unlike(*halves)


def test_the_answers_stay(start: Baseline, noise: Any) -> None:
    wanted, before, after = (
        answers(graph, noise(50, seed=2), 1) for graph in (start.model, start.by_extremes, EXACT_ADDS(start.by_extremes))
    )
    assert sqnr_db(wanted, after) > sqnr_db(wanted, before) - 1
    assert sqnr_db(before, after) > sqnr_db(wanted, before) - 3


def chain(rng: np.random.Generator, shared: bool) -> onnx.ModelProto:
    """Two Adds of codes, of which the second reads what the first makes; the last scale may be the first's, with another zero point."""
    nodes, stored = [], []

    def coded(value: str, scale: float) -> str:
        name, zero = f"s{len(stored)}", f"z{len(stored)}"
        stored.append(numpy_helper.from_array(np.float32(scale), name))
        stored.append(numpy_helper.from_array(np.uint8(100 + len(stored)), zero))
        nodes.append(helper.make_node("QuantizeLinear", [value, name, zero], [f"{name}_q"], name=f"{name}_quantize"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", name, zero], [f"{name}_d"], name=f"{name}_decode"))
        return f"{name}_d"

    one, other, branch, middle, last = rng.uniform(2**-8, 1.25 * 2**-8, 5)  # just above a power of two: few ratios are whole
    nodes.append(helper.make_node("Add", [coded("x", one), coded("y", other)], ["m"], name="first"))
    nodes.append(helper.make_node("Add", [coded("z", branch), coded("m", middle)], ["w"], name="second"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xyz"]
    answer = helper.make_tensor_value_info(coded("w", one if shared else last), TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph(nodes, "chain", ends, [answer], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("shared", [False, True])
def test_no_add_of_a_residual_chain_is_left_out(shared: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        model = chain(rng, shared)
        before, after = ratios(model), ratios(EXACT_ADDS(model))
        assert after == [pytest.approx(pair, rel=0.12) for pair in before]
        assert not [pair for pair in after if unlike(*pair)]


@pytest.mark.parametrize(("target", "exact", "in_float"), [("portable", True, 0), ("arm64", False, 0), ("x86", False, 2)])
def test_all_adds_of_a_residual_network(shared: Path, noise: Any, tmp_path: Path, target: Any, exact: bool, in_float: int) -> None:
    quantize(shared / "models" / "resnet20_cifar10.onnx", noise(20, side=32), target=target, out=tmp_path / "int8.onnx", tune_images=0)
    found = ratios(onnx.load(tmp_path / "int8.onnx"))
    assert len(found) == 9 - in_float
    assert any(unlike(*pair) for pair in found) is not exact
    ran = [kernel.kind for kernel in kernels(tmp_path / "int8.onnx", runs=1)]
    assert (ran.count("QLinearAdd"), ran.count("Add")) == (9 - in_float, in_float) and ("Slice" in ran) is (target == "arm64")
