"""Laws of the command line: exit codes, one clear message, nothing half-written, no torch where none is needed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.cli import app as cli

from ..conftest import Ended

AT_HOME = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def photos(root: Path, **counts: int) -> Path:
    """Class folders of small noise images."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


BAD_LINES = {
    "no such folder": (["pipeline", "{tmp}/nowhere"], ["nothing there"]),
    "no images": (["pipeline", "{tmp}/empty"], ["no images"]),
    "one class": (["pipeline", "{tmp}/lonely"], ["fewer than two classes", "cats"]),
    "corrupt files, all of them": (["pipeline", "{tmp}/corrupt"], ["a/torn.jpg", "b/torn.jpg"]),
    "class missing from val": (["pipeline", "{tmp}/parts"], ["dogs", "missing"]),
    "unknown architecture": (["pipeline", "{tmp}/good", "--teacher", "resnet81"], ["resnet81", "did you mean"]),
    "unknown student": (["pipeline", "{tmp}/good", "--student", "edge_smal"], ["edge_smal", 'did you mean "edge_small"']),
    "weights that are not there": (["pipeline", "{tmp}/good", "--teacher", "resnet18", "--teacher-weights", "{tmp}/w.pth"], ["w.pth"]),
    "weights that are no weights": (
        ["pipeline", "{tmp}/good", "--teacher", "resnet18", "--teacher-weights", "{tmp}/no.safetensors"],
        ["no.safetensors"],
    ),
    "budget out of range": (["pipeline", "{tmp}/good", "--max-drop", "0.5"], ["--max-drop", "0.2"]),
    "unknown key": (["pipeline", "{tmp}/good", "--set", "distill.epoch=3"], ["epoch", 'did you mean "epochs"']),
    "unknown table": (["pipeline", "{tmp}/good", "--set", "destill.epochs=3"], ["destill", 'did you mean "distill"']),
    "two problems at once": (
        ["pipeline", "{tmp}/good", "--set", "distill.epochs=0", "--set", "finetune.lr=9"],
        ["distill", "epochs", "finetune", "lr"],
    ),
    "not TOML": (["pipeline", "{tmp}/good", "--config", "{tmp}/no.safetensors"], ["TOML"]),
    "unknown option": (["pipeline", "{tmp}/good", "--techer", "x"], ["--techer", "--help"]),
    "unknown command": (["pipelin"], ["pipelin", "--help"]),
    "no ONNX": (["quantize", "{tmp}/no.onnx", "--calibration", "{tmp}/good", "--out", "{tmp}/q.onnx"], ["no.onnx"]),
    "no model": (["quantize", "{tmp}/missing.onnx", "--calibration", "{tmp}/good", "--out", "{tmp}/q.onnx"], ["missing.onnx", "nothing"]),
    "no bundle": (["verify", "{tmp}/good", "--data", "digits"], ["bundle"]),
    "no run folder": (["status", "{tmp}/good"], ["run.json"]),
    "no checkpoint": (["distill", "{tmp}/good", "--teacher", "{tmp}/empty", "--out", "{tmp}/run"], ["empty"]),
    "device that is not there": (["pipeline", "{tmp}/good", "--device", "tpu"], ["tpu", "cpu"]),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("inputs")
    photos(tmp / "good", a=20, b=20)
    photos(tmp / "lonely", cats=8)
    photos(tmp / "parts" / "train", cats=8, dogs=8)
    photos(tmp / "parts" / "val", cats=3)
    photos(tmp / "corrupt", a=8, b=8)
    for name in ("a", "b"):
        (tmp / "corrupt" / name / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (tmp / "empty").mkdir()
    (tmp / "no.safetensors").write_bytes(b"\x00 not a tensor \xff")
    (tmp / "no.onnx").write_bytes(b"\x00 not a graph")
    return tmp


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_input_is_one_message_and_exit_code_2(
    case: str, edgetl: Callable[..., Ended], inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, expected = BAD_LINES[case]
    monkeypatch.chdir(tmp_path)
    before = sorted(inputs.rglob("*"))
    ended = edgetl(*(word.format(tmp=inputs) for word in words))
    assert ended.returncode == 2
    assert ended.stdout == "" and "Traceback" not in ended.stderr
    flat = " ".join(ended.stderr.split())
    assert all(piece in flat for piece in expected), ended.stderr
    leftovers = [
        path
        for path in (*tmp_path.rglob("*"), *(set(inputs.rglob("*")) - set(before)))
        if path.suffix in (".onnx", ".safetensors", ".partial")
    ]
    assert leftovers == []


def test_a_run_that_never_began_leaves_no_folder(edgetl: Callable[..., Ended], inputs: Path, tmp_path: Path) -> None:
    assert edgetl("pipeline", inputs / "empty", "--out", tmp_path / "new" / "run").returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", [".", "a"])
def test_a_run_is_not_written_among_the_photos_of_a_class(out: str, edgetl: Callable[..., Ended], inputs: Path) -> None:
    before = sorted(inputs.rglob("*"))
    ended = edgetl("pipeline", inputs / "good", "--out", inputs / "good" / out)
    assert ended.returncode == 2 and "contains images of DATA. Choose another --out" in ended.stderr
    assert sorted(inputs.rglob("*")) == before


def test_the_photos_around_a_run_folder_are_read_without_it(
    edgetl: Callable[..., Ended], inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cd photos; edgetl pipeline .`, which writes to runs/photos by default; it gets as far as the weights that are not there."""
    shutil.copytree(inputs / "good", tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    ended = edgetl("pipeline", ".", "--teacher", "resnet18", "--teacher-weights", "nowhere.pth")
    assert ended.returncode == 2 and "nowhere.pth" in ended.stderr and "edgetl's own: runs/photos/" in ended.stderr
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["a", "b"]


def test_an_internal_error_is_exit_code_3_and_says_where_to_report(edgetl: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli, "app", broken)
    ended = edgetl("pipeline")
    assert ended.returncode == 3
    assert "ZeroDivisionError" in ended.stderr and "report" in ended.stderr and "Traceback" not in ended.stderr


def test_interrupted_is_exit_code_130(edgetl: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert edgetl("pipeline").returncode == 130


def test_a_reader_that_went_away_is_exit_code_141_and_no_word(edgetl: Callable[..., Ended]) -> None:
    """Typer makes `SystemExit(1)` of a broken pipe, and 1 would say that a verdict failed."""

    @cli.app.command()
    def speak() -> None:
        raise BrokenPipeError(errno.EPIPE, "gone")

    kept = os.dup(1)
    try:
        ended = edgetl("speak")
    finally:
        cli.app.registered_commands.pop()
        os.dup2(kept, 1)
        os.close(kept)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_exit_code_2_and_one_line() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        words = [sys.executable, "-m", "edgetl", "--help"]
        done = subprocess.run(words, env=AT_HOME, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "found the disk full" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes streams")
def test_streams_that_are_closed_from_the_start_are_no_error() -> None:
    words = [sys.executable, "-m", "edgetl", "predict", "nowhere.onnx", "nowhere.png"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", *words], env=AT_HOME, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and "nowhere" in done.stderr and "internal error" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_modules_are_imported_is_one_line() -> None:
    script = (
        "import os, signal, sys\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'edgetl.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgetl.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], env=AT_HOME, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_installed_command_begins_where_nothing_is_imported_yet() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"edgetl": "edgetl.__main__:main"}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_on_disk_are_utf8_although_python_is_told_otherwise(tmp_path: Path) -> None:
    """`PYTHONUTF8=0` in the C locale: class names with accents reach labels and messages whole."""
    photos(tmp_path / "é [1]", Äpfel=12, äpfel=12)
    words = [sys.executable, "-m", "edgetl", "pipeline", os.fsdecode("é [1]".encode()), "--out", "out"]
    done = subprocess.run(
        words, cwd=tmp_path, env={**AT_HOME, "LC_ALL": "C", "PYTHONUTF8": "0"}, capture_output=True, timeout=60, check=False
    )
    said = done.stderr.decode()
    assert done.returncode == 2 and "'Äpfel' (12 images) and 'äpfel' (12 images)" in said and "no UTF-8" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["é [1]"]


REQUIRED = {
    "pipeline": [],
    "finetune": ["digits", "--out", "o"],
    "distill": ["digits", "--teacher", "t", "--out", "o"],
    "quantize": ["m.onnx", "--calibration", "c", "--out", "o.onnx"],
    "export": ["m.onnx", "--out", "o"],
    "verify": ["m.onnx", "--data", "d"],
    "predict": ["m.onnx", "i.png"],
}


@pytest.mark.parametrize("command", REQUIRED)
def test_every_command_that_computes_takes_a_number_of_threads(command: str, edgetl: Callable[..., Ended]) -> None:
    ended = edgetl(command, "--help")
    assert ended.returncode == 0 and "--threads" in ended.stdout
    ended = edgetl(command, *REQUIRED[command], "--threads", "0")
    assert ended.returncode == 2 and "threads" in ended.stderr


@pytest.mark.parametrize("command", ["pipeline", "quantize"])
def test_a_time_limit_is_a_positive_number_of_seconds(command: str, edgetl: Callable[..., Ended]) -> None:
    ended = edgetl(command, *REQUIRED[command], "--time-limit", "-3")
    assert ended.returncode == 2 and "time-limit" in ended.stderr.replace("_", "-")


HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    "words",
    [["--help"], *([name, "--help"] for name in ("pipeline", "finetune", "distill", "quantize", "export", "verify", "predict", "status"))],
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        f"import sys; sys.argv = ['edgetl', *{words!r}]\n"
        "from edgetl.cli.app import main\n"
        f"try:\n main()\nfinally:\n print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stderr.strip().splitlines()[-1] == "[]", done.stderr
    assert "Usage" in done.stdout


def test_quantize_and_verify_of_onnx_files_need_no_torch(tmp_path: Path, shared: Path) -> None:
    model = shared / "models" / "resnet20_cifar10.onnx"
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", x=rng.normal(size=(48, 3, 32, 32)).astype(np.float32))
    np.savez(tmp_path / "t.npz", x=rng.normal(size=(20, 3, 32, 32)).astype(np.float32), y=np.arange(20) % 10)
    script = "import sys; sys.modules['torch'] = None; from edgetl.cli.app import main; main()"
    for words in (
        ["quantize", model, "--calibration", tmp_path / "c.npz", "--out", tmp_path / "q.onnx", "--json"],
        [
            "verify",
            tmp_path / "q.onnx",
            "--reference",
            model,
            "--data",
            tmp_path / "t.npz",
            "--max-drop",
            "0.2",
            "--latency-runs",
            "5",
            "--json",
        ],
    ):
        done = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr
        json.loads(done.stdout)
        assert words[0] == "verify" or "second-order rounding: not tried, torch is not installed" in done.stderr
