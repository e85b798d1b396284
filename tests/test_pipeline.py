"""Laws of a whole run, on real digits, through the real command line; in real processes where these are killed, or their traces sought."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgetl.bundle.read import open_bundle
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.report.schema import read_report
from edgetl.settings import DataSettings

from .conftest import Ended

STAGES = ("finetune", "distill", "quantize", "export", "verify")
QUICK = [
    *("--teacher", "cifar_resnet8", "--teacher-weights", "none", "--student", "edge_tiny", "--max-drop", "0.2", "--max-int8-drop", "0.1"),
    *("--set", "finetune.epochs=2", "--set", "finetune.lr=0.005", "--set", "distill.epochs=5", "--set", "verify.latency_runs=5"),
    *("--set", "quantize.tune_images=64"),
]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "edgetl", *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    """A home folder of its own, so that what is written there is seen."""
    home.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}


def process(home: Path, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=environment(home), cwd=cwd, capture_output=True, text=True, timeout=400, check=False)


def bundle_hashes(folder: Path) -> Mapping[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def results(run: Path) -> dict[str, int]:
    """When each finished stage was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(run.glob("stages/*/result.json"))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = process(folder / "home", "pipeline", "--out", folder / "run", "--json", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_folder_holds_what_the_design_says(undisturbed: tuple[Path, Any]) -> None:
    run = undisturbed[0] / "run"
    assert {"run.json", "split.json", "stages", "bundle", "report.json", "report.html"} <= {path.name for path in run.iterdir()}
    names = {path.name.rsplit("-", 1)[0] for path in (run / "stages").iterdir()}
    assert set(STAGES) <= names and not list(run.glob("stages/*.partial")) and not list(run.glob("stages/*/scratch"))


def test_json_on_stdout_is_the_report_and_nothing_else(undisturbed: tuple[Path, Any]) -> None:
    folder, done = undisturbed
    report = json.loads(done.stdout)
    read_report(report)
    assert report == json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["bundle_sha256"] == open_bundle(folder / "run" / "bundle").sha256
    assert report["data"]["images"]["test"] >= 450


def test_parts_are_disjoint_and_calibration_comes_from_train(undisturbed: tuple[Path, Any]) -> None:
    run = undisturbed[0] / "run"
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))["images"]
    seen = open_bundle(run / "bundle").seen
    train = {sha[:16] for sha, (_, part) in split.items() if part == "train"}
    test = {sha[:16] for sha, (_, part) in split.items() if part == "test"}
    assert seen.parts["train"] == train and seen.parts["calibration"] < train
    assert not test & frozenset().union(*seen.parts.values())


def test_nothing_is_written_outside_the_run_folder(undisturbed: tuple[Path, Any]) -> None:
    folder = undisturbed[0]
    assert sorted(path.name for path in folder.iterdir()) == ["home", "run"]
    assert [path for path in (folder / "home").rglob("*") if path.is_file()] == []


def test_an_identical_run_does_no_stage_again(edgetl: Callable[..., Ended], undisturbed: tuple[Path, Any]) -> None:
    folder = undisturbed[0]
    before, report = results(folder / "run"), (folder / "run" / "report.json").read_bytes()
    again = edgetl("pipeline", "--out", folder / "run", *QUICK)
    assert again.returncode == 0, again.stderr
    assert results(folder / "run") == before
    assert (folder / "run" / "report.json").read_bytes() == report


@pytest.mark.slow  # the reasons themselves: tests/core/test_plan.py
def test_status_says_what_would_rerun_and_why(edgetl: Callable[..., Ended], undisturbed: tuple[Path, Any]) -> None:
    folder = undisturbed[0]
    same = edgetl("status", folder / "run")
    assert same.returncode == 0 and "would run" not in same.stdout, same.stdout + same.stderr
    changed = edgetl("status", folder / "run", "--set", "distill.temperature=2.0").stdout
    assert "finetune: done" in changed
    assert "distill: would run: settings.temperature 4.0 -> 2.0" in changed
    assert "quantize: would run: its model changed" in changed


def test_a_changed_file_of_a_stage_is_named(edgetl: Callable[..., Ended], undisturbed: tuple[Path, Any]) -> None:
    folder = undisturbed[0]
    checkpoint = next((folder / "run" / "stages").glob("distill-*")) / "checkpoint.safetensors"
    original = checkpoint.read_bytes()
    checkpoint.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    try:
        refused = edgetl("pipeline", "--out", folder / "run", *QUICK)
    finally:
        checkpoint.write_bytes(original)
    assert refused.returncode == 2 and "checkpoint.safetensors" in refused.stderr and "Traceback" not in refused.stderr


def test_a_failed_verdict_is_exit_code_1_with_all_numbers_saved(edgetl: Callable[..., Ended], undisturbed: tuple[Path, Any]) -> None:
    folder = undisturbed[0]
    bundle, other = folder / "run" / "bundle", folder / "run" / "stages"
    reference = next(other.glob("lower-*")) / "model.float.onnx"
    teacher = max((path / "model.float.onnx" for path in other.glob("lower-*")), key=lambda path: path.stat().st_size)
    done = edgetl("verify", reference, "--reference", teacher, "--data", "digits", "--max-drop", "0", "--json")
    report = json.loads(done.stdout)
    read_report(report)
    assert done.returncode == (1 if report["verdict"] == "failed" else 0)
    assert report["parity"]["end_to_end"]["max_drop"] == 0
    assert bundle.is_dir()


@pytest.mark.slow
def test_each_stage_runs_alone_and_takes_what_the_one_before_gave(edgetl: Callable[..., Ended], tmp_path: Path) -> None:
    """The chain of docs/guide/stages.md, on a few digits in class folders."""
    photos, holdout = tmp_path / "photos", tmp_path / "holdout"
    digits = open_images(None, DataSettings())
    for folder, part in ((photos, "train"), (holdout, "test")):
        images = digits.only(part).take(120, 0)  # type: ignore[arg-type]
        for index, ref in enumerate(images.refs):
            place = folder / f"digit {digits.classes[ref.label]}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{ref.sha256[:8]}.pgm").write_bytes(images.read(index))
    training = ("--epochs", 20, "--val-share", 0.3)
    lines: list[tuple[object, ...]] = [
        ("finetune", photos, "--out", tmp_path / "t", "--arch", "cifar_resnet8", "--weights", "none", *training),
        (
            "distill",
            photos,
            "--teacher",
            tmp_path / "t",
            "--out",
            tmp_path / "s",
            "--arch",
            "edge_tiny",
            "--epochs",
            20,
            "--val-share",
            0.3,
        ),
        ("quantize", tmp_path / "s", "--calibration", photos, "--out", tmp_path / "m.onnx", "--target", "x86", "--tune-images", 64),
        ("export", tmp_path / "m.onnx", "--out", tmp_path / "bundle"),
        ("verify", tmp_path / "bundle", "--data", holdout, "--max-drop", 0.2, "--latency-runs", 5),
        ("predict", tmp_path / "bundle", holdout, "--csv", tmp_path / "answers.csv"),
    ]
    for words in lines:
        done = edgetl(*words)
        assert done.returncode == 0, (words[0], done.stderr)
    assert open_bundle(tmp_path / "bundle").manifest.shipped == "int8"
    parts = [part for _, part in json.loads((tmp_path / "s" / "split.json").read_text())["images"].values()]
    known = len(parts) - parts.count("test")  # the run's own test part calibrates nothing
    leaked = edgetl("verify", tmp_path / "bundle", "--data", photos)
    assert leaked.returncode == 2 and f"found {known} of 120 that were used to train, select or calibrate it" in leaked.stderr


@pytest.mark.parametrize("signalled", [signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM])
def test_killed_inside_each_stage_a_rerun_gives_the_same_bundle(
    undisturbed: tuple[Path, Any], tmp_path: Path, signalled: signal.Signals
) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    finished: dict[str, int] = {}
    for stage in STAGES:
        assert kill_inside(stage, run, home, signalled), f"{stage} ended before it could be killed"
        now = results(run)
        assert finished.items() <= now.items(), f"a finished stage ran again before {stage}"
        assert not any(name.startswith(f"{stage}-") and not name.endswith(".partial") for name in now)
        finished = {name: at for name, at in now.items() if not name.endswith(".partial")}
    last = process(home, "pipeline", "--out", run, "--json", *QUICK)
    assert last.returncode == 0, last.stderr
    assert finished.items() <= results(run).items()
    assert bundle_hashes(run / "bundle") == bundle_hashes(undisturbed[0] / "run" / "bundle")


def kill_inside(stage: str, run: Path, home: Path, signalled: signal.Signals) -> bool:
    """Start the pipeline; kill it while `stage` works (in training: after its first epoch)."""
    process = subprocess.Popen(
        command("pipeline", "--out", run, *QUICK), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wanted = f"stages/{stage}-*.partial" + ("/scratch/resume.pt" if stage in ("finetune", "distill") else "")
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if list(run.glob(wanted)):
            process.send_signal(signalled)
            break
        time.sleep(0.002)
    process.wait()
    return process.returncode not in (0, 1, 2, 3)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_exit_code_130_and_one_line(tmp_path: Path) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    process = subprocess.Popen(
        command("pipeline", "--out", run, *QUICK),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background jobs ignore it
    )
    while not list(run.glob("stages/finetune-*.partial")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1] == "interrupted. Finished work is kept: run the same command to continue"


def test_a_run_on_a_busy_folder_is_refused(edgetl: Callable[..., Ended], tmp_path: Path) -> None:
    """Between two processes, too: tests/core/test_workspace.py."""
    with Workspace(tmp_path / "run"):
        second = edgetl("pipeline", "--out", tmp_path / "run", *QUICK)
    assert second.returncode == 2 and "no other edgetl process" in second.stderr and second.stdout == ""
