"""Laws of sessions: what is refused, what fixed batches change (nothing), and that nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.core.errors import InputError
from edgetl.runtime.answers import outputs_of
from edgetl.runtime.latency import measure, measure_all
from edgetl.runtime.session import open_session

WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def classifier(
    path: Path, *, batch: int | str = "n", dims: tuple[Any, ...] = (3, 6, 6), keep: bool = False, kind: int = TensorProto.FLOAT
) -> Path:
    """Mean over the image, then a 1x1 Conv: [n, 3, 6, 6] -> [n, 4], or [n, 4, 1, 1] if `keep`."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y" if keep else "c"]),
        *([] if keep else [helper.make_node("Flatten", ["c"], ["y"])]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 1, 1] if keep else [batch, 4])
    return written(path, nodes, [helper.make_tensor_value_info("x", kind, [batch, *dims])], [output])


def written(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
    weight = numpy_helper.from_array(WEIGHT[:, :, None, None], "w")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def images(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).standard_normal((count, 3, 6, 6), dtype=np.float32)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_any_batch_gives_numpys_answer(tmp_path: Path, batch: int | str, keep: bool) -> None:
    session = open_session(classifier(tmp_path / "m.onnx", batch=batch, keep=keep))
    x = images(7)
    np.testing.assert_allclose(session.run(x), x.mean(axis=(2, 3)) @ WEIGHT.T, rtol=1e-4, atol=1e-6)
    assert (session.input_name, session.output_name, session.outputs) == ("x", "y", 4)
    assert session.input_shape == (None if batch == "n" else batch, 3, 6, 6)


def test_inputs_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    session = open_session(classifier(tmp_path / "m.onnx"))
    with pytest.raises(
        InputError, match=r"expected float32 inputs of shape \[n, 3, 6, 6\] for m.onnx, found float32 of shape \[2, 3, 8, 8\]"
    ):
        session.run(np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(InputError, match="found float64"):
        session.run(np.zeros((2, 3, 6, 6)))  # type: ignore[arg-type]


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"not a model, but bytes")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text.onnx", "empty.onnx"):
        with pytest.raises(InputError, match=rf"expected an ONNX file at .*{name}, found"):
            open_session(tmp_path / name)
    with pytest.raises(InputError, match="found nothing there"):
        open_session(tmp_path / "absent.onnx")


def test_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "m.onnx"))
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    (tmp_path / "outside.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"expected outside.onnx to hold its weights itself, found 1 in external data \(w\)"):
        open_session(tmp_path / "outside.onnx")


def test_graphs_that_are_no_image_classifier_are_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    mean = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Conv", ["p", "w"], ["c"])]
    flat = [*mean, helper.make_node("Flatten", ["c"], ["y"])]
    x = value("x", TensorProto.FLOAT, ["n", 3, 6, 6])
    two = written(
        tmp_path / "two.onnx", [*mean, helper.make_node("Add", ["c", "z"], ["y"])], [x, value("z", 1, [1])], [value("y", 1, None)]
    )
    with pytest.raises(InputError, match=r"expected two.onnx to have one input, found 2: x, z"):
        open_session(two)
    maps = written(tmp_path / "maps.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], [x], [value("y", 1, ["n", 4, 6, 6])])
    with pytest.raises(InputError, match=r"expected maps.onnx to have a float output of shape \[n, k\], found y"):
        open_session(maps)
    last = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), helper.make_node("GlobalAveragePool", ["t"], ["p"]), *flat[1:]]
    with pytest.raises(InputError, match="found channels last"):
        open_session(written(tmp_path / "last.onnx", last, [value("x", 1, ["n", 6, 6, 3])], [value("y", 1, ["n", 4])]))
    cast = [helper.make_node("Cast", ["b"], ["x"], to=1), *flat]
    with pytest.raises(InputError, match=r"expected bytes.onnx to take float images \[n, c, h, w\], found b: tensor\(uint8\)"):
        open_session(written(tmp_path / "bytes.onnx", cast, [value("b", TensorProto.UINT8, ["n", 3, 6, 6])], [value("y", 1, ["n", 4])]))


def test_a_stream_gives_all_outputs_and_labels(tmp_path: Path) -> None:
    path, x, y = classifier(tmp_path / "m.onnx"), images(10), np.arange(10)

    class Source:
        labelled = True

        def __len__(self) -> int:
            return 10

        def batches(self, size: int) -> Any:
            for start in range(0, 10, size):
                yield SimpleNamespace(x=x[start : start + size], y=y[start : start + size] if self.labelled else None)

    logits, labels = outputs_of(path, Source(), batch_size=4)
    np.testing.assert_array_equal(logits, open_session(path).run(x))
    assert labels is not None and labels.tolist() == y.tolist()
    Source.labelled = False
    assert outputs_of(path, Source(), batch_size=4)[1] is None


def test_latency_is_measured_in_turns(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx", dims=(3, "h", "w"))
    first, second = measure_all([path, path], runs=5)
    assert 0 < first.p50 <= first.p90 and second.runs == 5 and measure(path, 5).threads == 1


def test_no_telemetry_is_written(tmp_path: Path) -> None:
    """A real session in a home of its own leaves it empty, whatever the variable said before."""
    path = classifier(tmp_path / "m.onnx")
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys, pathlib; from edgetl.runtime.session import open_session; open_session(pathlib.Path(sys.argv[1]))"
    env = os.environ | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "ORT_DISABLE_TELEMETRY": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=env, cwd=Path(__file__).parents[2])
    assert list(home.rglob("*")) == []


def test_the_guard_comes_before_onnxruntime_everywhere() -> None:
    """Importing any module of ours that needs onnxruntime sets the variable before onnxruntime is loaded."""
    code = (
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1', 'onnxruntime came first'\n"
        "sys.meta_path.insert(0, Spy())\n"
        "import importlib; importlib.import_module(sys.argv[1]); assert 'onnxruntime' in sys.modules\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    for module in ("edgetl.runtime.session", "edgetl.quantization.engine", "edgetl.quantization.candidates.qdq"):
        subprocess.run([sys.executable, "-c", code, module], check=True, env=env, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_model_in_a_folder_whose_name_is_no_utf8_runs(tmp_path: Path, shared: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9") / "model.onnx"
    odd.parent.mkdir()
    odd.write_bytes((shared / "models" / "resnet20_cifar10.onnx").read_bytes())
    x = np.zeros((1, 3, 32, 32), np.float32)
    assert np.array_equal(open_session(odd).run(x), open_session(shared / "models" / "resnet20_cifar10.onnx").run(x))


def test_inputs_with_channels_last_are_told_so(tmp_path: Path) -> None:
    session = open_session(classifier(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"found float32 of shape \[2, 6, 6, 3\]: they are channels last, give x.transpose\(0, 3, 1, 2\)"):
        session.run(np.zeros((2, 6, 6, 3), np.float32))
