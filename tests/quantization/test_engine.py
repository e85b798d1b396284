"""Laws of the int8 engine, under real onnxruntime sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.core.seen import SeenImages
from edgetl.metrics.parity import agreement, sqnr_db
from edgetl.quantization.candidates.qdq import with_float_outputs, write_qdq
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.layout.compact import COMPACT
from edgetl.quantization.layout.short_names import SHORT_NAMES
from edgetl.quantization.observe.ranges import extremes
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.observe.statistics import observe, tensors_beside
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels
from edgetl.runtime.onnx_metadata import ModelInfo, check_file, describe, read_info, save
from edgetl.runtime.session import open_session


@pytest.mark.parametrize("options", [{}, {"keepdims": 1}, {"opset": 11, "batch_norm": True}, {"batch": 1}, {"batch": 3}])
def test_int8_answers_like_float(build_small: Callable[..., Path], noise: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    path, out = build_small(**options), tmp_path / "int8.onnx"
    record = quantize(path, noise(16), target="arm64", batch_size=8, out=out)
    (batch,) = noise(50, seed=1).batches(50)
    assert sqnr_db(open_session(path).run(batch.x), open_session(out).run(batch.x)) > 20
    check_file(out)
    assert record.int8["Conv"] == 3 and record.int8["Gemm"] == 1 and record.int8["GlobalAveragePool"] == 2


@pytest.mark.parametrize("tune_images", [0, 320])
def test_a_few_images_far_beyond_the_others_do_not_decide(small: Path, noise: Any, tmp_path: Path, tune_images: int) -> None:
    """Their logits are most of all squares; one of the three is among those that judge."""
    x = np.concatenate([batch.x for batch in noise(60).batches(60)])
    x[[7, 22, 44]] *= 300
    record = quantize(small, Arrays(x), out=tmp_path / "int8.onnx", tune_images=tune_images)
    by_extremes = next(trial for trial in record.trials if trial.name == "extremes as ranges")
    assert by_extremes.sqnr_db is not None and by_extremes.sqnr_db < 0
    (batch,) = noise(100, seed=1).batches(100)
    wanted, found = (open_session(path).run(batch.x) for path in (small, tmp_path / "int8.onnx"))
    assert sqnr_db(wanted, found) > 10 and agreement(wanted.argmax(1), found.argmax(1)) > 0.95


def test_same_inputs_same_bytes_whatever_the_batch_size(small: Path, noise: Any, tmp_path: Path) -> None:
    for name, size in (("a", 1), ("b", 5), ("c", 5)):
        quantize(small, noise(7), batch_size=size, out=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_another_process_writes_the_same_bytes(small: Path, noise: Any, tmp_path: Path) -> None:
    """String hashes differ between processes; no order may depend on them."""
    code = (
        "import sys; from types import SimpleNamespace as S; from pathlib import Path; import numpy as np\n"
        "from edgetl.quantization.engine import quantize\n"
        "x = np.load(sys.argv[2])\n"
        "class A:\n def __len__(self): return len(x)\n def batches(self, size): yield S(x=x, y=None)\n"
        "quantize(Path(sys.argv[1]), A(), out=Path(sys.argv[3]))\n"
    )
    (batch,) = noise(6).batches(6)
    np.save(tmp_path / "x.npy", batch.x)
    command = [sys.executable, "-c", code, str(small), str(tmp_path / "x.npy"), str(tmp_path / "there")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    quantize(small, noise(6), out=tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_compacting_changes_no_bit_of_the_answers(small: Path, noise: Any, tmp_path: Path) -> None:
    prepared = prepare_graph(small)
    seen = observe(prepared, tensors_beside(GraphIndex(prepared), INT8_OPS), noise(8), batch_size=8)
    ranges = {name: extremes(found) for name, found in seen.items()}
    graph = with_float_outputs(write_qdq(prepared, ranges))
    save(graph, tmp_path / "long.onnx")
    save(SHORT_NAMES(COMPACT(graph)), tmp_path / "short.onnx")
    (batch,) = noise(20, seed=2).batches(20)
    np.testing.assert_array_equal(open_session(tmp_path / "short.onnx").run(batch.x), open_session(tmp_path / "long.onnx").run(batch.x))
    assert (tmp_path / "short.onnx").stat().st_size < 0.6 * (tmp_path / "long.onnx").stat().st_size


def test_a_compact_graph_stores_no_zero_points_of_biases_and_runs_int8_kernels(small: Path, noise: Any, tmp_path: Path) -> None:
    quantize(small, noise(8), out=tmp_path / "int8.onnx")
    stored = onnx.load(tmp_path / "int8.onnx").graph.initializer
    assert sum(tensor.data_type == onnx.TensorProto.INT32 for tensor in stored) == 4  # biases of three Convs and a Gemm
    ran = [kernel.kind for kernel in kernels(tmp_path / "int8.onnx", runs=1)]
    assert (ran.count("QLinearConv"), ran.count("QGemm")) == (3, 1)


def test_outputs_are_not_rounded_to_codes(small: Path, noise: Any, tmp_path: Path) -> None:
    quantize(small, noise(8), out=tmp_path / "int8.onnx")
    (batch,) = noise(200, seed=3).batches(200)
    logits = open_session(tmp_path / "int8.onnx").run(batch.x)
    assert len(np.unique(logits)) > 256
    assert [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node][-1] == "Gemm"


def test_metadata_is_kept_and_local_paths_are_not(small: Path, noise: Any, tmp_path: Path) -> None:
    seen = SeenImages(split="5" * 64, parts={})
    info = ModelInfo(classes=("ä", "b", "c", "d", "e"), preprocess=imagenet(16), seen=seen, extra={"author": "me"})
    save(describe(onnx.load(small), info), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", noise(4), target="web", out=tmp_path / "int8.onnx")
    found = read_info(tmp_path / "int8.onnx")
    assert (found.classes, found.preprocess, found.seen) == (info.classes, info.preprocess, seen)
    assert found.extra == {"author": "me", "edgetl.target": "web"}
    assert b"/home/someone" in (tmp_path / "float.onnx").read_bytes()
    assert b"/home/" not in (tmp_path / "int8.onnx").read_bytes()


def test_a_quantized_model_is_refused(small: Path, noise: Any, tmp_path: Path) -> None:
    quantize(small, noise(4), out=tmp_path / "int8.onnx")
    with pytest.raises(
        InputError, match=r"expected a float model, found that int8.onnx is quantized already \(DequantizeLinear, QuantizeLinear\)"
    ):
        quantize(tmp_path / "int8.onnx", noise(4), out=tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_nothing_is_left_beside_the_output(small: Path, noise: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    quantize(small, noise(4), out=tmp_path / "out" / "int8.onnx")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["int8.onnx"]
    assert [path.name for path in small.parent.iterdir() if path.is_file()] == ["small.onnx"]


@pytest.mark.parametrize(
    ("name", "share", "side"),
    [
        ("resnet20_cifar10", 0.34, 32),
        ("mobilenet_v3_small_cifar64", 0.30, 64),
        pytest.param("squeezenet1_0_imagenet", 0.30, 224, marks=pytest.mark.slow),
    ],
)
def test_real_networks_shrink_as_promised(shared: Path, noise: Any, tmp_path: Path, name: str, share: float, side: int) -> None:
    path, out = shared / "models" / f"{name}.onnx", tmp_path / f"{name}.onnx"
    quantize(path, noise(2, side=side), target="x86", out=out, tune_images=0)
    assert out.stat().st_size <= share * path.stat().st_size
