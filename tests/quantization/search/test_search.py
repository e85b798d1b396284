"""The fewest layers stay in float, and only where the budget asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.cli.console import warnings_of
from edgetl.cli.stages import quantize as by_stage
from edgetl.data.npz import open_npz
from edgetl.metrics.choice import WhenUndecided
from edgetl.quantization.engine import quantize
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.search.evaluator import CandidateEvaluator
from edgetl.quantization.search.search import MOST_EVALUATIONS, Budget, Evaluation, fewest, order, remembered, with_neighbours
from edgetl.runtime.session import open_session
from edgetl.settings import QuantizeSettings

from ...conftest import Told
from ..conftest import bounded_layers

GOOD = Evaluation(floating=(), agreement=1.0, drop=0.0, lost=False, size_bytes=1000, ms=1.0, float_ms=2.0)


class Simulated:
    """Layers of a known worth: good from `needed` layers in float on, each 10 bytes and 0.01 ms more."""

    def __init__(self, needed: int) -> None:
        self.needed, self.asked = needed, 0

    def __call__(self, _: onnx.ModelProto, floating: tuple[str, ...]) -> Evaluation:
        self.asked += 1
        count = len(floating)
        return replace(
            GOOD, floating=floating, agreement=1.0 if count >= self.needed else 0.9, size_bytes=1000 + 10 * count, ms=1 + count / 100
        )


def make(_: Sequence[str]) -> onnx.ModelProto:
    return onnx.ModelProto()


@pytest.mark.parametrize("needed", [1, 2, 17, 500, 998])
def test_the_fewest_layers_are_found_in_twelve_evaluations(needed: int) -> None:
    judge, layers = Simulated(needed), [f"layer{i}" for i in range(1000)]
    found = fewest(layers, make, judge, Budget(min_agreement=0.99))
    assert found is not None and found[1].floating == tuple(layers[:needed])
    assert judge.asked <= MOST_EVALUATIONS


@pytest.mark.parametrize("limit", [{"max_kb": 1.1}, {"max_ms": 1.1}])
def test_what_would_be_too_large_or_too_slow_is_not_taken(limit: dict[str, float]) -> None:
    layers = [f"layer{i}" for i in range(100)]
    assert fewest(layers, make, Simulated(50), Budget(min_agreement=0.99, **limit)) is None
    found = fewest(layers, make, Simulated(5), Budget(min_agreement=0.99, **limit))
    assert found is not None and len(found[1].floating) == 5


def test_a_killed_search_judges_nothing_twice(tmp_path: Path) -> None:
    layers, judge = [f"layer{i}" for i in range(40)], Simulated(13)
    first = fewest(layers, make, remembered(judge, tmp_path / "search.json"), Budget(min_agreement=0.99))
    rows = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search.json").write_text(json.dumps(rows[:2]))  # as if killed after the second
    asked, again = judge.asked, Simulated(13)
    assert fewest(layers, make, remembered(again, tmp_path / "search.json"), Budget(min_agreement=0.99)) == first
    assert again.asked == asked - 2 and json.loads((tmp_path / "search.json").read_text()) == rows


def test_noise_is_weighed_against_time_and_size(small: Path) -> None:
    model = prepare_graph(small)
    names = {node.name: node for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    noise = [NoiseSource(name=names[name].input[1], kind="weights", noise=1.0, share=0.25) for name in names]
    shares = {name: 0.0 for name in names} | {"stem": 0.9}
    ranked = order(model, noise, shares)
    assert sorted(ranked) == sorted(names)
    assert ranked[-1] == "stem"


def test_what_lies_between_layers_in_float_alone_is_in_float_too(small: Path) -> None:
    model = prepare_graph(small)
    layers = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert with_neighbours(model, layers) == {node.name for node in model.graph.node}
    assert with_neighbours(model, []) == set()
    between = with_neighbours(model, ["stem", "depth"]) - {"stem", "depth"}
    assert all(node.op_type not in ("Add", "Gemm") for node in model.graph.node if node.name in between)


def test_what_bounds_a_layer_in_int8_is_in_int8_too(tmp_path: Path) -> None:
    """In front of a Relu6, 256 codes would have to cover what it cuts off."""
    model = prepare_graph(bounded_layers(tmp_path / "bounded.onnx"))
    assert with_neighbours(model, ["second"]) == {"second", "second_bound"}
    assert with_neighbours(model, ["first"]) == {"first", "first_bound"}


def strict(noise: Any, small: Path, out: Path, **budget: float) -> Any:
    return quantize(small, noise(60), target="portable", out=out, tune_images=64, budget=Budget(**budget), memory=out.with_suffix(".json"))


def test_a_budget_that_int8_keeps_leaves_nothing_in_float(small: Path, noise: Any, tmp_path: Path) -> None:
    record = strict(noise, small, tmp_path / "int8.onnx", min_agreement=0.5)
    assert record.floating == () and record.within and len(record.evaluations) == 1


def undecided(path: Path, x: np.ndarray[Any, Any]) -> None:
    """Shift the biases of the last layer so that every class is the answer to some of `x`."""
    model, mean = onnx.load(path), open_session(path).run(x).mean(0)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - mean, "head.bias"))
    onnx.save(model, path)


def test_more_layers_in_float_bring_the_answers_closer(small: Path, noise: Any, tmp_path: Path, told: Told) -> None:
    """Images half as strong again as those of the calibration overflow int8; what has more answers right leaves layers in float."""
    (batch,) = noise(1000, seed=4).batches(1000)
    undecided(small, 1.5 * batch.x)
    np.savez(tmp_path / "judging.npz", x=1.5 * batch.x)
    budget, judging = Budget(min_agreement=0.8), open_npz(tmp_path / "judging.npz")
    record = quantize(small, noise(100), out=tmp_path / "mixed.onnx", tune_images=64, budget=budget, evaluation=judging)
    wanted, found = (open_session(path).run(1.5 * batch.x).argmax(1) for path in (small, tmp_path / "mixed.onnx"))
    assert record.evaluations[0].floating == () and record.evaluations[0].agreement < 0.8
    assert record.floating and record.within and (wanted == found).mean() >= 0.8
    assert 1 < len(record.evaluations) <= MOST_EVALUATIONS
    assert record.floating_by == "evaluation" and record.reported.held_out  # the figures come from calibration images
    assert f"quantize: these layers stay in float: {', '.join(record.floating)}" in told.lines and all(
        "(" in name for name in record.floating
    )
    assert set(record.floating) <= {record.names.get(node.name) for node in onnx.load(tmp_path / "mixed.onnx").graph.node}


def test_the_same_memory_gives_the_same_bytes(small: Path, noise: Any, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize(small, noise(60), out=tmp_path / name, tune_images=64, budget=Budget(min_agreement=1.0), memory=tmp_path / "search.json")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_budget_that_nothing_keeps_is_said_not_to_be_kept(small: Path, noise: Any, tmp_path: Path) -> None:
    record = strict(noise, small, tmp_path / "int8.onnx", max_kb=0.1)
    assert record.within is False and record.floating == ()


def signs(bias: float) -> onnx.ModelProto:
    """Two classes by the sign of the first level of an image [3, 4, 4], plus a bias."""
    weight = np.zeros((48, 2), np.float32)
    weight[0] = 1, -1
    stored = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([bias, -bias], np.float32), "b")]
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", ["n", 3, 4, 4]), ("y", ["n", 2])))
    graph = helper.make_graph(nodes, "signs", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("lost", "when_undecided", "looks"),
    [(3, "measured", True), (3, "float", False), (3, "int8", False), (12, "float", True), (12, "int8", True), (0, "measured", False)],
)
def test_layers_in_float_are_sought_where_float_would_ship_for_what_was_seen(
    tmp_path: Path, lost: int, when_undecided: WhenUndecided, looks: bool
) -> None:
    """So many of 20 answers are lost, of a budget of one point: 3 may be chance, 12 are none. A doubt alone is no reason to look."""
    x = np.zeros((20, 3, 4, 4), np.float32)
    x[:, 0, 0, 0] = np.where(np.arange(20) < lost, 0.05, np.where(np.arange(20) % 2, 1, -1))
    np.savez(tmp_path / "val.npz", x=x, y=np.where(x[:, 0, 0, 0] > 0, 0, 1))
    onnx.save(signs(0.0), tmp_path / "float.onnx")
    budget = Budget(max_drop=0.01, when_undecided=when_undecided)
    judge = CandidateEvaluator(tmp_path / "float.onnx", open_npz(tmp_path / "val.npz"), budget, lambda graph: graph, 1)
    found = judge(signs(-0.1), ())
    assert found.drop == pytest.approx(lost / 20) and found.lost == looks == (not found.good(budget))


@pytest.mark.parametrize(
    ("limits", "form", "by"), [({}, "float", "measured"), ({"max_kb": 0.1}, "int8", "limit"), ({"max_ms": 1e-9}, "int8", "limit")]
)
def test_float_does_not_ship_for_a_doubt_where_it_is_larger_or_slower_than_allowed(
    tmp_path: Path, limits: dict[str, float], form: str, by: str
) -> None:
    """Three of 20 answers hang on a tenth of a step of int8."""
    x = np.zeros((20, 3, 4, 4), np.float32)
    x[:, 0, 0, 0] = np.where(np.arange(20) < 3, -0.001, np.where(np.arange(20) % 2, 1, -1))
    np.savez(tmp_path / "val.npz", x=x, y=np.where(x[:, 0, 0, 0] > 0, 0, 1))
    np.savez(tmp_path / "calibration.npz", x=np.random.default_rng(0).uniform(-1, 1, (64, 3, 4, 4)).astype(np.float32))
    onnx.save(signs(0.0), tmp_path / "float.onnx")
    out, ask = tmp_path / "int8.onnx", QuantizeSettings(tune_images=0, **limits)
    decision = by_stage(tmp_path / "float.onnx", tmp_path / "calibration.npz", out, ask, evaluation=str(tmp_path / "val.npz")).decision
    assert (decision.shipped, decision.settled_by, decision.drop) == (form, by, pytest.approx(3 / 20))
    assert decision.why and any(decision.why in line for line in warnings_of(decision, out))
