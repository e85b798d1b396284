"""Laws of one stage alone on files of other makers: what is said of them, and that their function arrives in int8."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import edgetl
from edgetl.bundle.predict import predict
from edgetl.bundle.read import open_bundle
from edgetl.cli.stages import export, quantize
from edgetl.cli.verify import verify
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings, ExportSettings, QuantizeSettings, VerifySettings

from ..conftest import Told

QUICK = QuantizeSettings(tune_images=0)
Array = NDArray[Any]
Change = Callable[[onnx.ModelProto, Path], None]


def network(*, channels_last: bool = False, dtype: Any = np.float32, opset: int = 20) -> onnx.ModelProto:
    """32 px, Conv, Relu, mean, Gemm, ten scores."""
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(scale=0.3, size=(8, 3, 3, 3)),
        "b": rng.normal(scale=0.1, size=8),
        "f": rng.normal(size=(8, 10)),
    }
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    front = [helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2])] if channels_last else []
    nodes = [
        *front,
        helper.make_node("Conv", ["first" if front else "input", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["flat"]),
        helper.make_node("Gemm", ["flat", "f"], ["logits"]),
    ]
    shape = ["n", 32, 32, 3] if channels_last else ["n", 3, 32, 32]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("logits", kind, ["n", 10])],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, ir_version=10 if opset < 24 else 14, opset_imports=[helper.make_opsetid("", opset)])


def images(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 3, 32, 32)) * rng.uniform(0.2, 2, size=(count, 3, 1, 1))).astype(np.float32)


def answers(path: Path, x: Array) -> Array:
    """What onnxruntime gives, without anything of ours."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    engine = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(engine.run(None, {engine.get_inputs()[0].name: x})[0], dtype=np.float32)


def alike(a: Array, b: Array) -> float:
    """The signal-to-noise ratio in dB."""
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


def saved(path: Path, kind: str) -> tuple[Path, Callable[[Array], Array], str]:
    """A file of that kind, its inputs from NCHW ones, and what must be said of it."""
    if kind == "side file":
        onnx.save_model(network(), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
        return path, lambda x: x, "weights read from theirs.onnx.data"
    if kind == "channels last":
        onnx.save(network(channels_last=True), path)
        return path, lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)), "it takes NHWC images"
    if kind == "float16":
        onnx.save(network(dtype=np.float16), path)
        return path, lambda x: x.astype(np.float16), "float16 inside: converted to float32"
    onnx.save(network(opset=28), path)
    return path, lambda x: x, ""


@pytest.mark.parametrize("kind", ["side file", "channels last", "float16", "opset 28"])
def test_every_form_is_quantized_and_verified_under_its_own_name(tmp_path: Path, kind: str) -> None:
    path, turned, said = saved(tmp_path / "theirs.onnx", kind)
    x = images(60, 1)
    try:
        wanted = answers(path, turned(x))
    except Exception as error:  # onnxruntime's errors share no base
        if "Unsupported model IR version" not in str(error):
            raise
        pytest.skip(f"onnxruntime {ort.__version__} does not read a file that is so new")
    np.savez(tmp_path / "c.npz", x=images(40, 0))
    with listening(told := Told()):
        quantize(path, tmp_path / "c.npz", tmp_path / "q.onnx", QUICK)
    assert any(f"theirs.onnx: {said}" in line for line in told.lines) or not said
    assert not any("model.float.onnx" in line for line in told.lines + told.titles)
    assert alike(wanted, open_session(tmp_path / "q.onnx").run(x)) > 25
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "q.onnx").graph.initializer if len(tensor.dims) > 1}
    assert TensorProto.INT8 in stored.values() and TensorProto.FLOAT16 not in stored.values()
    np.savez(tmp_path / "t.npz", x=x, y=wanted.argmax(1))
    with Workspace(tmp_path / "verdict") as do:
        verdict = verify(tmp_path / "q.onnx", str(tmp_path / "t.npz"), do, VerifySettings(latency_runs=5, max_drop=0.2), reference=path)
    report = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    assert report["models"]["teacher"]["score"] > 0.99  # labels are what the file itself answers
    with Workspace(tmp_path / "other") as do:
        report = verify(path, str(tmp_path / "t.npz"), do, VerifySettings(latency_runs=5, max_drop=0.2), reference=path).report
    assert json.loads(report.path.read_text(encoding="utf-8"))["models"]["onnx_float"]["score"] > 0.99


@pytest.mark.parametrize("kind", ["side file", "channels last", "float16"])
def test_every_form_predicts_and_becomes_a_bundle_of_one_file(tmp_path: Path, kind: str) -> None:
    path, turned, _ = saved(tmp_path / "theirs.onnx", kind)
    preprocess = Preprocess.from_json('{"size": 32, "resize": 32}')
    pixels = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    places = [tmp_path / f"{index}.png" for index in range(4)]
    for place, picture in zip(places, pixels, strict=True):
        Image.fromarray(picture).save(place)
    prepared = np.stack([preprocess(place.read_bytes()) for place in places])
    wanted = [str(best) for best in answers(path, turned(prepared)).argmax(1)]
    assert [found.answer for found in predict(path, places, preprocess=preprocess)] == wanted
    (tmp_path / "p.json").write_text(preprocess.to_json(), encoding="utf-8")
    (tmp_path / "labels.txt").write_text("".join(f"{index}\n" for index in range(10)), encoding="utf-8")
    golden = open_images(None, DataSettings()).only("val")
    settings = ExportSettings(golden_images=1)
    export(path, tmp_path / "bundle", settings, golden, labels=tmp_path / "labels.txt", preprocess=str(tmp_path / "p.json"))
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.inputs[0].shape[1:] == (3, 32, 32) and not list((tmp_path / "bundle").rglob("*.data"))
    assert [found.answer for found in predict(tmp_path / "bundle", places)] == wanted


def test_a_changed_side_file_is_another_model(tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path / "theirs.onnx", "side file")
    np.savez(tmp_path / "c.npz", x=images(40, 0))
    quantize(path, tmp_path / "c.npz", tmp_path / "q.onnx", QUICK)
    first = open_session(tmp_path / "q.onnx").run(images(8, 1))
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    (tmp_path / "theirs.onnx.data").unlink()
    onnx.save_model(model, tmp_path / "new.onnx", save_as_external_data=True, location="theirs.onnx.data", size_threshold=0)
    quantize(path, tmp_path / "c.npz", tmp_path / "q.onnx", QUICK)
    assert alike(answers(path, images(8, 1)), open_session(tmp_path / "q.onnx").run(images(8, 1))) > 20
    assert not np.allclose(first, open_session(tmp_path / "q.onnx").run(images(8, 1)), atol=0.1)


def test_python_reads_the_same_forms(tmp_path: Path) -> None:
    path, turned, _ = saved(tmp_path / "theirs.onnx", "channels last")
    found = edgetl.quantize(path, images(40, 0), tune_images=0, threads=1)
    onnx.save(found.model, tmp_path / "q.onnx")
    assert alike(answers(path, turned(images(20, 1))), open_session(tmp_path / "q.onnx").run(images(20, 1))) > 25


def test_messages_name_the_file_that_was_given(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "theirs.onnx")
    np.savez(tmp_path / "c.npz", x=images(8, 0)[:, :, :16, :16])
    with pytest.raises(InputError, match=r"for theirs\.onnx, found"):
        quantize(tmp_path / "theirs.onnx", tmp_path / "c.npz", tmp_path / "q.onnx", QUICK)


def test_the_model_is_looked_at_before_the_images(tmp_path: Path) -> None:
    """A model of signals is refused for what it is, not for the .npz that fits it."""
    model = network()
    del model.graph.input[0].type.tensor_type.shape.dim[3]
    onnx.save(model, tmp_path / "theirs.onnx")
    np.savez(tmp_path / "c.npz", x=np.zeros((4, 3, 32), np.float32))
    with pytest.raises(InputError, match=r"expected theirs.onnx to take images.*signals of one dimension"):
        quantize(tmp_path / "theirs.onnx", tmp_path / "c.npz", tmp_path / "q.onnx", QUICK)
    assert not (tmp_path / "q.onnx").exists() and not (tmp_path / "q.onnx.work").exists()
