"""The forms for minimal builds: the bytes of onnxruntime's own converter in a fixed order, the same answers, no local paths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgetl.bundle.image_graph import write_image_models
from edgetl.bundle.ort_bytes import in_order
from edgetl.bundle.ort_format import CONFIG, FORMS, write_ort_forms
from edgetl.core.errors import InputError
from edgetl.runtime.plain_file import with_batch_of_one

from .conftest import PREPROCESS, picture

CONVERT = """
import pathlib, sys
from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort
convert_onnx_models_to_ort(pathlib.Path(sys.argv[1]), optimization_styles=[OptimizationStyle.Fixed], enable_type_reduction=True)
"""


def made(source: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(source.read_bytes())
    write_image_models(folder, PREPROCESS, "logits", 1.0)
    write_ort_forms(folder)
    return folder


def operators(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_they_answer_as_the_graphs_they_come_from(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    for index, source in enumerate(graphs):
        folder = made(source, tmp_path / str(index))
        pixels = PREPROCESS.pixels(picture(3, 40, 31))[None]
        for form, given in (("model", PREPROCESS.normalize(pixels)), ("model.image", pixels)):
            found, expected = (
                ort.InferenceSession(folder / f"{form}{suffix}", providers=["CPUExecutionProvider"]).run(None, {"image": given})
                for suffix in (".ort", ".onnx")
            )
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_processes_with_other_hashes_write_the_same_bytes_without_local_paths(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    first = made(graphs[1], tmp_path / "here")
    (tmp_path / "there").mkdir()
    for name in ("model.onnx", "model.image.onnx"):
        (tmp_path / "there" / name).write_bytes((first / name).read_bytes())
    program = "import sys, pathlib; from edgetl.bundle.ort_format import write_ort_forms; write_ort_forms(pathlib.Path(sys.argv[1]))"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], check=True)
        for name in (*FORMS.values(), CONFIG):
            data = (first / name).read_bytes()
            assert data == (tmp_path / "there" / name).read_bytes(), name
            assert str(tmp_path).encode() not in data and b"/tmp" not in data


@pytest.mark.slow
def test_onnxruntimes_converter_gives_the_same(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    for index, source in enumerate(graphs):
        folder = made(source, tmp_path / str(index))
        theirs = tmp_path / f"theirs {index}"
        theirs.mkdir()
        for name in FORMS:
            onnx.save_model(with_batch_of_one(onnx.load(folder / name)), theirs / name)
        subprocess.run([sys.executable, "-c", CONVERT, str(theirs)], check=True, capture_output=True)
        assert operators((folder / CONFIG).read_text()) == operators((theirs / CONFIG).read_text())
        for name in FORMS.values():
            assert (folder / name).read_bytes() == in_order((theirs / name).read_bytes())


def test_the_operators_that_are_run_are_listed_with_their_types(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    lines = operators((made(graphs[1], tmp_path / "made") / CONFIG).read_text())
    for line in lines:
        domain, since, names = line.split(";", 2)
        assert domain in ("ai.onnx", "com.microsoft") and int(since) >= 1 and names
    listed = "\n".join(lines)
    assert "QLinearConv" in listed and 'Softmax{"inputs": {"0": ["float"]}}' in listed
    assert json.loads(listed[listed.index("Softmax") + len("Softmax") :].split("}}")[0] + "}}") == {"inputs": {"0": ["float"]}}


def test_another_format_is_named() -> None:
    with pytest.raises(InputError, match="ORTM"):
        in_order(b"\x08\0\0\0ONNXabcd")
