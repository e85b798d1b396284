"""`edgetl predict` as a command: results on stdout and nothing else, exit codes, stdin, no torch."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetl.core.preprocess import Preprocess
from edgetl.runtime.onnx_metadata import ModelInfo, describe, save

COLORS = ("red", "green", "blue")
RGB = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
SCRIPT = "import sys; from edgetl.cli.app import main\ntry:\n main()\nfinally:\n print('torch' in sys.modules, file=sys.stderr)"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It names the channel that is brightest on average."""
    nodes = [
        helper.make_node("Conv", ["image", "identity"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["logits"]),
    ]
    weights = [numpy_helper.from_array(4 * np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "identity")]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "brightest", inputs, outputs, weights)
    info = ModelInfo(classes=COLORS, preprocess=Preprocess(size=16, resize=16))
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save(describe(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), info), path)
    assert onnx.load(path).graph.node
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`photos/<color>/<n>.png`, and one file that is no image."""
    for name, color in RGB.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20, 30), color).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return tmp_path / "photos"


def predict(*words: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", SCRIPT, "predict", *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, env=environment, timeout=60, check=False)


def test_a_folder_is_answered_without_torch_and_the_torn_file_told_at_the_end(model: Path, photos: Path) -> None:
    done = predict(model, photos)
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [(Path(path).parent.name, answer) for path, answer, _ in lines[:6]] == [(c, c) for c in sorted(COLORS) for _ in range(2)]
    assert lines[6][1] == "error" and len(lines) == 7
    said = done.stderr.decode()
    assert done.returncode == 2 and said.splitlines()[-1] == "False" and "Traceback" not in said
    assert (
        "found 1 of 7 files that cannot be read:" in said and "torn.jpg: expected an image" in said and "The others are answered." in said
    )


def test_all_readable_is_exit_code_0_and_the_csv_is_complete(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "torn.jpg").unlink()
    done = predict(model, photos, "--csv", tmp_path / "a.csv", "--top-k", 9)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    more = ["answer_2", "confidence_2", "answer_3", "confidence_3"]
    assert list(rows[0]) == ["path", "answer", "confidence", *more, "error", "decision"]
    assert all(Path(row["path"]).parent.name == row["answer"] and row["error"] == "" for row in rows)
    said = done.stdout.decode().split()
    assert said[:4] == ["answers", str(tmp_path / "a.csv"), "images", "6"]
    assert said[4:] == [word for name in sorted(COLORS) for word in ("2", name)]


def test_json_is_all_there_is_on_stdout(model: Path, photos: Path, tmp_path: Path) -> None:
    done = predict(model, photos, "--json", "--top-k", 2, "--csv", tmp_path / "a.csv")
    found = json.loads(done.stdout)
    assert [row["answer"] for row in found] == [*(c for c in sorted(COLORS) for _ in range(2)), None]
    assert all(row["top"][0] == [row["answer"], row["confidence"]] and len(row["top"]) == 2 for row in found[:6])
    assert found[6]["error"] and found[6]["top"] == [] and (tmp_path / "a.csv").is_file()


def test_paths_come_from_stdin_and_the_csv_goes_to_stdout(model: Path, photos: Path) -> None:
    paths = [photos / "red" / "0.png", photos / "blue"]
    for given in ("\n".join(map(str, paths)) + "\n", "\0".join(map(str, paths)) + "\0"):
        done = predict(model, "-", "--csv", "-", given=given.encode())
        rows = list(csv.DictReader(done.stdout.decode().splitlines()))
        assert done.returncode == 0 and [row["answer"] for row in rows] == ["red", "blue", "blue"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{photos}/none", "{photos}/gone.png"], "found nothing at:\n  {photos}/none\n  {photos}/gone.png"),
        (["{photos}", "--csv", "{photos}"], "expected to be able to write a CSV file at {photos}, found a folder"),
        (["{photos}", "--csv", "{photos}/none/a.csv"], "found no folder {photos}/none"),
        (["{photos}", "--csv", "-", "--json"], "expected one kind of result on standard output"),
        (["-"], "expected paths on standard input, one per line, found none"),
        (["{photos}", "--top-k", "0"], "--top-k"),
        (["{photos}/torn.jpg"], "found 1 of 1 files that cannot be read"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_leaves_nothing(words: list[str], message: str, model: Path, photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    done = predict(model, *(word.format(photos=photos) for word in words))
    said = done.stderr.decode()
    assert done.returncode == 2 and message.format(photos=photos) in said and "Traceback" not in said
    assert sorted(photos.rglob("*")) == before
    assert "The others" not in said and (words[0].endswith("torn.jpg") or done.stdout == b"")


@pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="needs bash")
def test_a_reader_that_goes_away_is_no_internal_error(model: Path, photos: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = f"{sys.executable} -m edgetl predict {model} {photos} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.stdout.count("\n") == 1 and "Traceback" not in done.stderr and "internal error" not in done.stderr
