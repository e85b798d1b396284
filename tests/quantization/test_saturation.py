"""No target that stands for CPUs without VNNI gets weights that saturate there; the rule was right on an emulated one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.quantization.saturation import MOST_PAIR, limited, pairs_of, saturating
from edgetl.quantization.targets import saturates
from edgetl.quantization.weights import fitted
from edgetl.runtime.session import open_session, start
from edgetl.settings import Target

EMULATOR = next((path for name in ("qemu-x86_64", "qemu-x86_64-static") if (path := shutil.which(name))), None)
needs_emulator = pytest.mark.skipif(
    EMULATOR is None or os.uname().machine != "x86_64", reason="needs qemu-x86_64 (Debian: qemu-user-static) on an x86-64 machine"
)
# shape of the weight, and attributes: every kind of layer with a kernel of its own, odd sizes among them
LAYERS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "1x1": ("Conv", (24, 16, 1, 1), {}),
    "3x3": ("Conv", (24, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "3x3 of RGB": ("Conv", (24, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "5x3": ("Conv", (8, 5, 5, 3), {"strides": [2, 2]}),
    "groups": ("Conv", (24, 8, 3, 3), {"group": 2}),
    "odd groups": ("Conv", (8, 3, 3, 3), {"group": 2}),
    "a channel a group, two outputs": ("Conv", (16, 1, 3, 3), {"group": 8}),
    "depthwise": ("Conv", (16, 1, 3, 3), {"group": 16}),
    "gemm": ("Gemm", (19, 37), {"transB": 1}),
    "gemm, other way": ("Gemm", (37, 19), {}),
    "matmul": ("MatMul", (37, 19), {}),
}


def one_layer(kind: str, shape: tuple[int, ...], attributes: dict[str, Any], *, keep: bool) -> onnx.ModelProto:
    """One int8 layer with large weights of one sign per output, and all activations near code 255: the worst case."""
    rng = np.random.default_rng(0)
    outputs = 0 if kind == "Conv" or attributes.get("transB") else 1
    signs = rng.choice([-1, 1], [size if i == outputs else 1 for i, size in enumerate(shape)])
    codes = (rng.integers(60, 128, shape) * signs).astype(np.float32)
    inputs = [1, shape[1] * attributes.get("group", 1), 9, 9] if kind == "Conv" else [3, shape[1 - outputs]]
    steps = shape[outputs]

    def graph(weight: NDArray[Any]) -> onnx.ModelProto:
        stored = {
            "s": np.float32(1 / 255), "z": np.uint8(0), "w_quantized": weight.astype(np.int8), "ws": np.full(steps, 1 / 127, np.float32),
            "wz": np.zeros(steps, np.int8), "ys": np.float32(weight.size / steps / 100), "yz": np.uint8(128),
        }  # fmt: skip
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w_quantized", "ws", "wz"], ["wd"], axis=outputs),
            helper.make_node(kind, ["xd", "wd"], ["v"], **attributes),
            helper.make_node("QuantizeLinear", ["v", "ys", "yz"], ["vq"]),
            helper.make_node("DequantizeLinear", ["vq", "ys", "yz"], ["y"]),
        ]
        values = [helper.make_tensor_value_info(name, 1, form) for name, form in (("x", inputs), ("y", None))]
        made = helper.make_graph(
            nodes, "one", values[:1], values[1:], [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()]
        )
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    free = graph(codes)
    return graph(limited(codes, pairs_of(free).get("w_quantized"))) if keep else free


def test_limited_weights_keep_every_pair_within_sixteen_bits() -> None:
    for name, (kind, shape, attributes) in LAYERS.items():
        found = saturating(one_layer(kind, shape, attributes, keep=False))
        assert bool(found) == (name != "depthwise"), name
        assert not saturating(one_layer(kind, shape, attributes, keep=True)), name


def test_the_limit_is_that_of_sixteen_bits() -> None:
    assert 255 * MOST_PAIR <= 2**15 - 1 < 255 * (MOST_PAIR + 1)


def test_as_little_as_possible_is_taken_from_a_pair() -> None:
    """From pairs of one sign only, half from each, and no sign turns."""
    from edgetl.quantization.saturation import Pairs

    codes = np.array([[127, 127], [-127, -100], [127, -127], [64, 64], [1, 127], [2, 127]], np.float32)
    at = np.arange(12).reshape(6, 2)
    found = limited(codes, Pairs(at[:, 0], at[:, 1]))
    np.testing.assert_array_equal(found, [[64, 64], [-77, -51], [127, -127], [64, 64], [1, 127], [1, 127]])


def test_a_fitted_scale_is_no_worse_than_seven_bits() -> None:
    values = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    largest = np.abs(values).max(axis=(1, 2, 3))
    pairs = pairs_of(one_layer("Conv", values.shape, {}, keep=False))["w_quantized"]
    codes, scale = fitted(values, largest / 127, 0, pairs)
    seven = np.clip(np.rint(values / (largest / 64)[:, None, None, None]), -64, 64) * (largest / 64)[:, None, None, None]
    ours = codes * scale[:, None, None, None]
    assert np.abs(codes.astype(int)).max() > 64
    assert sqnr_db(values, ours) > sqnr_db(values, seven) + 1.5


@pytest.mark.parametrize("target", get_args(Target))
def test_only_what_can_saturate_is_limited(small: Path, noise: Any, tmp_path: Path, target: Target) -> None:
    record = quantize(small, noise(40), target=target, out=tmp_path / "int8.onnx", tune_images=64)
    written = onnx.load(tmp_path / "int8.onnx")
    assert saturates(target) == (target in ("portable", "web", "x86-avx2"))
    assert not (saturates(target) and saturating(written))
    assert bool(record.limited) == saturates(target)
    weights = [numpy_helper.to_array(tensor) for tensor in written.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) > 64


def emulated(path: Path, x: NDArray[np.float32], tmp_path: Path) -> NDArray[np.float32]:
    """What a graph answers on an emulated Haswell: AVX2, no VNNI."""
    code = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "o = ort.SessionOptions(); o.log_severity_level = 4; o.intra_op_num_threads = 1\n"
        "s = ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])\n"
        "np.save(sys.argv[3], s.run(None, {s.get_inputs()[0].name: np.load(sys.argv[2])})[0])\n"
    )
    np.save(tmp_path / "x.npy", x)
    packages = str(Path(onnxruntime.__file__).parents[1])
    command = [str(EMULATOR), "-cpu", "Haswell", os.path.realpath(sys.executable), "-c", code]
    environment = {**os.environ, "PYTHONPATH": packages, "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*command, str(path), "x.npy", "y.npy"], check=True, cwd=tmp_path, env=environment, capture_output=True)
    found: NDArray[np.float32] = np.load(tmp_path / "y.npy")
    return found


@pytest.mark.slow
@needs_emulator
@pytest.mark.parametrize("name", LAYERS)
def test_limited_weights_do_not_saturate_without_vnni_and_unlimited_ones_do(name: str, tmp_path: Path) -> None:
    kind, shape, attributes = LAYERS[name]
    for keep in (True, False):
        model = one_layer(kind, shape, attributes, keep=keep)
        onnx.save(model, tmp_path / "layer.onnx")
        size = [value.dim_value for value in model.graph.input[0].type.tensor_type.shape.dim]
        x = np.random.default_rng(1).uniform(0.9, 1.1, size).astype(np.float32)
        exact = start(tmp_path / "layer.onnx", optimize=False).run(None, {"x": x})[0]  # sums in float32
        (step,) = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "ys")
        most = np.abs(emulated(tmp_path / "layer.onnx", x, tmp_path) - exact).max() / step
        assert most < 1.5 if keep or name == "depthwise" else most > 5


@pytest.mark.slow
@needs_emulator
def test_portable_answers_the_same_bits_without_vnni(build_small: Callable[..., Path], noise: Any, tmp_path: Path) -> None:
    """The small network is all integer but its hard-swish, hard-sigmoid and logits, which are the same float kernels."""
    quantize(build_small(batch=8), noise(60), target="portable", out=tmp_path / "int8.onnx", tune_images=200)
    (batch,) = noise(8, seed=5).batches(8)
    here = open_session(tmp_path / "int8.onnx").run(batch.x)
    np.testing.assert_allclose(emulated(tmp_path / "int8.onnx", batch.x, tmp_path), here, rtol=0, atol=1e-5)
