"""Latency: models are opened and run in turns of changing order, how busy the CPU was is told, what moved is marked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.runtime.latency import FEWEST_RUNS, MOVED, TURNS, Loop, Opened, _read, calibration_loop, in_turns, measure_all, sample
from edgetl.runtime.latency import drift_warning as warning_of
from edgetl.runtime.session import open_session


def network(path: Path, layers: int) -> Path:
    """So many convolutions of 8 channels on 32 x 32 pixels, and 3 outputs."""
    kernel = np.random.default_rng(0).normal(0, 0.1, (8, 8, 3, 3)).astype(np.float32)
    nodes, weights, last = [], [], "x"
    for number in range(layers):
        first = kernel if number else kernel[:, :3]
        weights.append(numpy_helper.from_array(np.ascontiguousarray(first), f"w{number}"))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        last = f"c{number}"
    weights.append(numpy_helper.from_array(np.ones((8, 3), np.float32), "head"))
    nodes += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    nodes.append(helper.make_node("MatMul", ["f", "head"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "network", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def opener(paths: list[Path], order: list[int], number: int) -> Callable[[], Opened]:
    """Opens one path after the other, and writes down that it did."""
    left = list(paths)

    def opened() -> Opened:
        order.append(number)
        session = open_session(left.pop(0) if len(left) > 1 else left[0])
        return session, sample(session)

    return opened


def test_all_models_are_opened_anew_in_every_turn_in_another_order(tmp_path: Path) -> None:
    path, order = network(tmp_path / "m.onnx", 1), list[int]()
    found = in_turns([opener([path], order, number) for number in range(5)], TURNS * FEWEST_RUNS)
    turns = [tuple(order[start : start + 5]) for start in range(0, len(order), 5)]
    assert len(turns) == TURNS == len(set(turns)) and all(sorted(turn) == list(range(5)) for turn in turns)
    assert [each.runs for each in found] == [TURNS * FEWEST_RUNS] * 5


def test_a_larger_model_takes_longer_and_what_the_cpu_did_is_told(tmp_path: Path) -> None:
    small, large = measure_all([network(tmp_path / "s.onnx", 1), network(tmp_path / "l.onnx", 24)], 30)
    assert small.p50 < large.p50 and small.cpu == large.cpu != ""
    for each in (small, large):
        assert each.spread is not None and each.spread >= 0 and 0 <= each.busy <= 1 and min(each.loop_ms) > 0


def test_a_measurement_that_moves_is_marked_and_said(tmp_path: Path) -> None:
    """In its second turn the model is another one, a dozen times as large."""
    small, large = network(tmp_path / "s.onnx", 1), network(tmp_path / "l.onnx", 24)
    (found,) = in_turns([opener([small, large], [], 0)], 30)
    assert found.moved and found.spread is not None and found.spread > 1
    warning = warning_of({"student": found})
    assert warning is not None and warning.startswith(
        "latencies are estimates: they, or the speed of this machine, changed by more than 10% during the measurement (student by "
    )
    assert "Measure again on an idle machine" in warning


@pytest.mark.parametrize(("last", "loop", "moved"), [(1.09, 1.0, False), (1.11, 1.0, True), (1.0, 1.09, False), (1.0, 1.12, True)])
def test_a_tenth_of_the_medians_or_of_the_loop_is_the_limit(last: float, loop: float, moved: bool) -> None:
    times = np.concatenate([np.full((10, 1), 2.0), np.full((10, 1), 2.0), np.full((10, 1), 2.0 * last)])
    (found,) = _read(times, [1], 3, (Loop(ms=0.5, busy=0.0), Loop(ms=0.5 * loop, busy=0.2)))
    assert (found.moved, found.busy, found.loop_ms) == (moved, 0.2, (0.5, 0.5 * loop))
    assert found.spread == pytest.approx(last - 1) and (warning_of({"m": found}) is None) == (not moved)
    assert MOVED == 0.1


def test_few_runs_are_one_turn() -> None:
    (found,) = _read(np.array([[1.0], [9.0]]), [1], 1, (Loop(ms=1.0, busy=0.0), Loop(ms=1.0, busy=0.0)))
    assert found.spread is None and not found.moved


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to share one CPU with other work")
def test_other_work_on_the_same_cpu_is_seen() -> None:
    """Two processes that never rest share this one's CPU: two thirds of its time are theirs."""
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    burn = f"import os\nos.sched_setaffinity(0, {{{one}}})\nprint(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for other in others:
            assert other.stdout is not None and other.stdout.readline()
        os.sched_setaffinity(0, {one})
        assert np.median([calibration_loop().busy for _ in range(5)]) > 0.4
    finally:
        os.sched_setaffinity(0, allowed)
        for other in others:
            other.kill()
            other.communicate()
