"""How much work int8 is worth is counted, not timed; what is left out for it is said; a time limit is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates import plan
from edgetl.quantization.engine import quantize
from edgetl.quantization.learn import steps
from edgetl.quantization.learn.tune import growth
from edgetl.quantization.observe.effort import DEFAULT_MULTIPLY_ADDS, FEWEST_CALIBRATION, Wanted, effort, time_in_words
from edgetl.quantization.observe.split_for_judging import Arrays, spread, subset
from edgetl.quantization.observe.work import DEPTHWISE_FACTOR, Work
from edgetl.quantization.prepare.prepare import prepare_graph

from ...conftest import Told

EVERYTHING = Wanted(calibration=256, refined=8, tuned=1195, attributed=31)
SQUEEZENET = Work(products=818_924_576, values=11_946_848, rounding=21_238_970_358)


def graph(path: Path, nodes: list[onnx.NodeProto], stored: dict[str, tuple[int, ...]], batch: int | str = "n") -> Path:
    rng = np.random.default_rng(0)
    made = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in stored.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, made), opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def conv_gemm(path: Path, batch: int | str = "n") -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["a", "d"], ["b"], pads=[1] * 4, group=6),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1),
    ]
    return graph(path, nodes, {"w": (6, 3, 3, 3), "d": (6, 1, 3, 3), "g": (5, 6)}, batch)


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_multiply_adds_are_those_of_the_shapes(tmp_path: Path, batch: int | str) -> None:
    """64 places of 6 values: of 27 products each, of 9 (a depthwise Conv's cost more); 5 values of 6."""
    work = Work.of(prepare_graph(conv_gemm(tmp_path / "m.onnx", batch)), np.zeros((3, 16, 16), np.float32))
    assert work.products == 64 * 6 * 27 + 64 * 6 * 9 * DEPTHWISE_FACTOR + 5 * 6


def test_multiply_adds_are_what_torch_counts(small: Path) -> None:
    """An independent count: torch's, of the same network, two operations each."""
    from torch.utils.flop_counter import FlopCounterMode

    from edgetl.quantization.learn.simulation import Simulation

    model, image = prepare_graph(small), np.zeros((3, 16, 16), np.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Simulation(model)(torch.from_numpy(image[None]))
    depthwise = 16 * 16 * 8 * 9
    assert Work.of(model, image).products - depthwise * (DEPTHWISE_FACTOR - 1) == counter.get_total_flops() // 2


def test_networks_that_are_not_large_are_not_shortened() -> None:
    """SqueezeNet at 224 pixels, the costliest of the shared models."""
    whole = effort(SQUEEZENET, EVERYTHING, 224 * 224)
    assert whole.shortened == () and whole.tuned == 1195 and whole.calibration == 256
    assert whole.multiply_adds < DEFAULT_MULTIPLY_ADDS


@pytest.mark.parametrize("times", [1.5, 3, 8, 30, 200, 4000])
def test_larger_networks_get_fewer_images_and_what_is_left_out_is_named(times: float) -> None:
    work = Work(products=int(times * SQUEEZENET.products), values=int(times * SQUEEZENET.values), rounding=int(times * SQUEEZENET.rounding))
    found = effort(work, EVERYTHING, 224 * 224)
    least = FEWEST_CALIBRATION * 2.5 * work.one_pass
    assert found.multiply_adds <= max(DEFAULT_MULTIPLY_ADDS, least)
    assert found.calibration >= FEWEST_CALIBRATION
    assert (found.tuned < 1195) == any("tuning" in text for text in found.shortened)
    assert (not found.refine) == ("no second-order rounding" in found.shortened)


def test_images_that_were_asked_for_are_tuned_on_whatever_the_work() -> None:
    huge = Work(products=10**12, values=10**6, rounding=0)
    assert effort(huge, EVERYTHING, 224 * 224).tuned == 0
    assert effort(huge, EVERYTHING, 224 * 224, asked=True).tuned == 1195


def test_the_clock_does_not_decide_what_is_counted(small: Path, noise: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """On a machine a thousand times slower, the same steps and the same bytes."""
    records = []
    for name, slower in (("a", 1.0), ("b", 1e-3)):
        monkeypatch.setattr(plan, "speed", lambda *_, slower=slower: 1e9 * slower)
        records.append(quantize(small, noise(20), out=tmp_path / name, tune_images=16))
    assert records[0].effort == records[1].effort and records[0].time_limit is None
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_shortened_is_said_and_recorded(small: Path, noise: Any, tmp_path: Path, monkeypatch: Any, told: Told) -> None:
    monkeypatch.setattr(plan, "DEFAULT_MULTIPLY_ADDS", 200 * Work.of(prepare_graph(small), noise(1).image(0)).one_pass)
    record = quantize(small, noise(60), out=tmp_path / "a")
    assert record.effort.calibration == 32 and record.images == 32 and record.effort.tuned == 0
    assert any("ranges from 32 of 60 calibration images" in line and "no tuning" in line for line in told.lines)
    assert any("takes at most about" in line for line in told.lines[:2])
    assert {trial.name for trial in record.trials if trial.why_not} >= {"tuned together"}
    quantize(small, noise(60), out=tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("seconds", [0.01, 3.0])
def test_a_time_limit_is_kept_and_the_best_so_far_is_written(small: Path, noise: Any, tmp_path: Path, seconds: float, told: Told) -> None:
    begun = time.monotonic()
    record = quantize(small, noise(60), out=tmp_path / "a", tune_images=1_000_000, time_limit=seconds)
    assert time.monotonic() - begun < seconds + 15  # tuning on a million images takes many minutes; a machine may be busy
    onnx.checker.check_model(str(tmp_path / "a"))
    assert record.time_limit == seconds and max(trial.sqnr_db or 0 for trial in record.trials) > 15
    assert any(f"stops after {seconds:g} seconds" in line and "different bytes" in line for line in told.lines)
    if seconds < 1:
        assert "time" in str(record.trials[-1].why_not)


def test_some_images_are_spread_evenly_whatever_the_batches(noise: Any) -> None:
    every = noise(10)
    x = np.concatenate([batch.x for batch in every.batches(10)])
    for size in (1, 3, 10):
        found = np.concatenate([batch.x for batch in subset(every, 4).batches(size)])
        assert len(subset(every, 4)) == 4 and np.array_equal(found, x[spread(10, 4)])
    assert subset(every, 10) is every and len(subset(Arrays(x), 3)) == 3


def test_an_error_that_only_grows_is_seen() -> None:
    assert growth([1.0, 1.0, 2.0, 3.0, 2.0, 3.0, 2.0, 2.0]) == 2.0
    assert growth([4.0, 4.0, 2.0, 3.0, 2.0, 3.0, 2.0, 2.0]) == 0.5


@pytest.mark.parametrize(("seconds", "words"), [(3, "10 seconds"), (14, "20 seconds"), (44, "40 seconds"), (290, "5 minutes")])
def test_times_are_no_more_exact_than_they_are(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


def test_tuning_that_only_loses_is_given_up(small: Path, noise: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(steps, "COSTLY_MULTIPLY_ADDS", 0.0)
    monkeypatch.setattr("edgetl.quantization.learn.tune.HOPELESS_GROWTH", 0.0)
    monkeypatch.setattr(steps, "QUIET_DB", 200.0)
    record = quantize(small, noise(40), out=tmp_path / "a")
    tuned = next(trial for trial in record.trials if trial.name == "tuned together")
    assert "given up after a quarter" in str(tuned.why_not)
