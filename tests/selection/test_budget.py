"""`edgetl pipeline --max-kb`, on real digits: it is kept, so are trials, and what cannot be is said at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Ended

QUICK = (
    *("--teacher", "cifar_resnet8", "--teacher-weights", "none", "--max-drop", "0.2", "--max-int8-drop", "0.1"),
    *("--set", "finetune.epochs=1", "--set", "finetune.lr=0.005", "--set", "distill.epochs=2", "--set", "search.epochs=1"),
    *("--set", "verify.latency_runs=5", "--set", "quantize.tune_images=64"),
)


Pipeline = Callable[..., Ended]


@pytest.fixture
def pipeline(edgetl: Callable[..., Ended]) -> Pipeline:
    return lambda out, *words: edgetl("pipeline", "--out", out, *QUICK, *words)


def test_the_student_keeps_the_budget_and_trials_are_kept(pipeline: Pipeline, tmp_path: Path) -> None:
    out, words = tmp_path / "run", ("--max-kb", "120", "--student", "edge_small")
    done = pipeline(out, *words)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((out / "report.json").read_text())
    (tried,) = report["frontier"]["tried"]
    assert tried["taken"] and tried["student"] == "edge_small at 32 px" and report["frontier"]["max_bytes"] == 120_000
    assert report["models"]["onnx_int8"]["arch"] == "edge_small" and (out / "bundle/model.onnx").stat().st_size <= 120_000
    before = {path: path.stat().st_mtime_ns for path in out.glob("stages/distill-*/result.json")}
    assert len(before) == 2
    assert pipeline(out, *words, "--set", "distill.epochs=3").returncode in (0, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_budget_that_nothing_can_keep_is_refused_before_any_training(pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = pipeline(out, "--max-kb", "9")
    assert done.returncode == 2 and not out.exists(), done.stderr
    assert "expected a budget that a student can meet, found 9 kB: the smallest student (edge_tiny) takes about" in " ".join(
        done.stderr.split()
    )
