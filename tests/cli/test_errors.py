"""What goes wrong in real life, through the real command line: exit code 2, one message, nothing lost or half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors.torch import save_file

from edgetl.models.build import build

from ..conftest import Ended

Refused = Callable[..., str]


@pytest.fixture
def refused(edgetl: Callable[..., Ended]) -> Refused:
    """The message of a refused command, in one line."""

    def message(*words: object) -> str:
        return reason(edgetl(*words))

    return message


def reason(done: Ended | subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr, (done.returncode, done.stderr)
    return " ".join(done.stderr.split())


def process(*words: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: where a disk is full, it closes its standard output."""
    line = [sys.executable, "-m", "edgetl", *map(str, words)]
    return subprocess.run(line, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=300, check=False)


def photos(root: Path, salt: int = 0, **counts: int) -> Path:
    """Class folders of small noise images; another `salt`, other images."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        rng = np.random.default_rng([salt, number])
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def model(path: Path) -> Path:
    """A float classifier of 1 MB: image -> pooled -> 250 hidden -> 1000 hidden -> 2."""
    rng = np.random.default_rng(0)
    weights = {
        name: onnx.numpy_helper.from_array(rng.normal(0, 0.05, shape).astype(np.float32), name)
        for name, shape in {"a": (250, 3, 8, 8), "b": (1000, 250), "c": (2, 1000)}.items()
    }
    nodes = [
        onnx.helper.make_node("Conv", ["x", "a"], ["1"], strides=[8, 8]),
        onnx.helper.make_node("Relu", ["1"], ["2"]),
        onnx.helper.make_node("GlobalAveragePool", ["2"], ["3"]),
        onnx.helper.make_node("Flatten", ["3"], ["4"]),
        onnx.helper.make_node("Gemm", ["4", "b"], ["5"], transB=1),
        onnx.helper.make_node("Relu", ["5"], ["6"]),
        onnx.helper.make_node("Gemm", ["6", "c"], ["y"], transB=1),
    ]
    value = onnx.helper.make_tensor_value_info
    x, y = value("x", onnx.TensorProto.FLOAT, ["n", 3, 24, 24]), value("y", onnx.TensorProto.FLOAT, ["n", 2])
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], initializer=list(weights.values()))
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def arrays(path: Path) -> Path:
    np.savez(path, x=np.random.default_rng(0).normal(size=(12, 3, 24, 24)).astype(np.float32))
    return path


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own with room for 1 MiB."""
    at = tmp_path / "disk"
    at.mkdir()
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", at], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_parts_that_do_not_fit_together_are_told_all_at_once(refused: Refused, tmp_path: Path) -> None:
    root = tmp_path / "data"
    photos(root / "train", ants=12, bees=12)
    photos(root / "val", salt=1, ants=3, wasps=3)
    shutil.copy(root / "train/ants/3.png", root / "val/ants/copy.png")
    (root / "train/bees/torn.png").write_bytes((root / "train/bees/0.png").read_bytes()[:200])
    message = refused("pipeline", root, "--out", tmp_path / "run")
    for piece in (
        "bees: not in val",
        "wasps: in val, not in train",
        "train/bees/torn.png",
        "train/ants/3.png (train) = val/ants/copy.png (val)",
    ):
        assert piece in message
    assert not (tmp_path / "run" / "stages").exists()


def test_weights_of_another_architecture_are_named(refused: Refused, tmp_path: Path) -> None:
    save_file(build("cifar_resnet8", 10, 32).state_dict(), tmp_path / "w.safetensors")
    words = ("--teacher", "cifar_resnet20", "--teacher-weights", tmp_path / "w.safetensors", "--out", tmp_path / "run")
    message = refused("pipeline", photos(tmp_path / "data", ants=20, bees=20), *words)
    assert "expected weights of the same architecture in w.safetensors" in message and "Choose the architecture" in message
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_unknown_keys_of_a_toml_file_are_all_named_with_the_nearest(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[distill]\nepoch = 3\n[quantise]\ntarget = 'x86'\n", encoding="utf-8")
    message = refused("pipeline", photos(tmp_path / "data", ants=20, bees=20), "--config", tmp_path / "s.toml", "--out", tmp_path / "run")
    assert 'epoch: unknown (did you mean "epochs"?)' in message and '[quantise]: unknown table (did you mean "quantize"?)' in message
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written_is_named(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    data = photos(tmp_path / "data", ants=20, bees=20)
    assert str(tmp_path / "file") in refused("pipeline", data, "--out", tmp_path / "file")
    assert str(tmp_path / "file") in refused("pipeline", data, "--out", tmp_path / "file" / "run")
    words = ("quantize", model(tmp_path / "m.onnx"), "--calibration", arrays(tmp_path / "c.npz"), "--out")
    assert str(tmp_path / "file") in refused(*words, tmp_path / "file" / "q.onnx")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_disk_that_is_too_small_is_told_before_training(refused: Refused, tmp_path: Path, tiny_disk: Path) -> None:
    message = refused("pipeline", photos(tmp_path / "data", ants=20, bees=20), "--out", tiny_disk / "run", "--student", "edge_tiny")
    assert "MiB of free disk" in message and "Free some space, or choose another --out" in message
    assert not list(tiny_disk.rglob("*.safetensors"))


def test_a_disk_that_fills_up_loses_nothing_and_the_same_line_goes_on_with_more_room(tmp_path: Path, tiny_disk: Path) -> None:
    out = tiny_disk / "q.onnx"
    out.write_bytes(b"an older output")
    words = ("quantize", model(tmp_path / "m.onnx"), "--calibration", arrays(tmp_path / "c.npz"), "--out", out)
    message = reason(process(*words))
    assert "q.onnx.work is full" in message and "free some space and run the same command again" in message
    assert out.read_bytes() == b"an older output"
    assert {name for name in files_in(tiny_disk) if name.endswith(".onnx") and ".partial/" not in name} <= {"q.onnx"}
    subprocess.run(["mount", "-o", "remount,size=16m", tiny_disk], check=True)
    assert process(*words).returncode == 0
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert not [name for name in files_in(tiny_disk) if ".partial" in name]


def test_a_file_of_a_bundle_that_was_changed_is_named(edgetl: Callable[..., Ended], refused: Refused, tmp_path: Path) -> None:
    out, bundle = tmp_path / "q.onnx", tmp_path / "bundle"
    (tmp_path / "labels.txt").write_text("ants\nbees\n", encoding="utf-8")
    (tmp_path / "p.json").write_text('{"size": 24, "resize": 24}', encoding="utf-8")
    assert edgetl("quantize", model(tmp_path / "m.onnx"), "--calibration", arrays(tmp_path / "c.npz"), "--out", out).returncode == 0
    done = edgetl("export", out, "--labels", tmp_path / "labels.txt", "--preprocess", tmp_path / "p.json", "--out", bundle)
    assert done.returncode == 0, done.stderr
    (bundle / "labels.txt").write_text("bees\nants\n", encoding="utf-8")
    data = photos(tmp_path / "test", ants=3, bees=3)
    for words in (("verify", bundle, "--data", data), ("predict", bundle, data)):
        assert "labels.txt" in refused(*words)
