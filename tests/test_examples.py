"""The scripts in examples/ run as they are written, and what they print is true."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetl import PipelineSettings, predict

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = PipelineSettings.from_tables(
    {
        "finetune": {"strategy": "features", "head_views": 1, "baselines": False},
        "distill": {"arch": "edge_tiny", "epochs": 2},
        "quantize": {"tune_images": 0, "calibration_images": 64},
        "verify": {"latency_runs": 5},
    }
)


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that `pipeline_in_python` made of the digits."""
    folder = tmp_path_factory.mktemp("example") / "run"
    verdict = script("pipeline_in_python").main(None, folder, QUICK)
    assert verdict == json.loads((folder / "report.json").read_text())["verdict"]
    return folder


def test_the_pipeline_leaves_a_bundle_a_report_and_a_log(run: Path) -> None:
    assert (run / "bundle" / "model.onnx").is_file() and (run / "report.html").is_file()
    assert "distill: 2 epochs" in (run / "run.log").read_text(encoding="utf-8")


def test_embed_answers_as_edgetl_does_on_photos_of_any_shape_and_on_a_large_jpeg(run: Path, tmp_path: Path) -> None:
    embed, random = script("embed"), np.random.default_rng(0)
    sizes = {"upright.png": (40, 61), "wide.png": (93, 32), "large.jpg": (640, 480)}
    for name, (width, height) in sizes.items():
        coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(tmp_path / name)
    pictures = [run / "bundle" / "golden" / "00.pgm", *(tmp_path / name for name in sizes)]
    for picture, wanted in zip(pictures, predict(run / "bundle", pictures), strict=True):
        name, probability = embed.main(run / "bundle", picture)
        assert wanted.answer is not None and name == wanted.answer
        assert probability == pytest.approx(wanted.confidence, abs=1e-5)


def test_embed_imports_neither_edgetl_nor_torch(run: Path) -> None:
    code = "import runpy, sys; sys.argv[0] = sys.argv[1]; del sys.argv[1]; runpy.run_path(sys.argv[0], run_name='__main__'); "
    code += "sys.stderr.write(str(sorted({'edgetl', 'torch'} & sys.modules.keys())))"
    command = [sys.executable, "-c", code, str(EXAMPLES / "embed.py"), str(run / "bundle"), str(run / "bundle" / "golden" / "00.pgm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=run, timeout=120)
    assert done.stderr == "[]" and done.stdout.split()[0] in {str(digit) for digit in range(10)}


def test_any_onnx_file_becomes_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    weights = {"w": random.normal(0, 0.3, (16, 3, 3, 3)), "v": random.normal(0, 0.3, (5, 16))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx")
    np.savez(tmp_path / "c.npz", x=random.normal(0, 1, (40, 3, 16, 16)).astype(np.float32))
    agreement = script("quantize_any_onnx").main(tmp_path / "model.onnx", tmp_path / "c.npz", tmp_path / "int8.onnx")
    assert f"same answer as float on {agreement:.1%} of 4 images" in capsys.readouterr().out
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
