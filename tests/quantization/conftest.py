"""Small real networks, int8 layers of every kind, streams of noise and an emulated CPU for the int8 engine's tests."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.saturation import pairs_of, unsaturated_codes


@dataclass(frozen=True)
class Batch:
    """Inputs without labels."""

    x: NDArray[np.float32]
    y: None = None


@dataclass(frozen=True)
class Noise:
    """`count` images of noise [3, side, side], made when they are asked for."""

    count: int
    side: int = 16
    seed: int = 0

    def __len__(self) -> int:
        """The number of images."""
        return self.count

    def image(self, index: int) -> NDArray[np.float32]:
        return np.random.default_rng([self.seed, index]).standard_normal((3, self.side, self.side), dtype=np.float32)

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, self.count, size):
            yield Batch(np.stack([self.image(i) for i in range(start, min(start + size, self.count))]))


def build(path: Path, *, batch: int | str = "batch", opset: int = 20, batch_norm: bool = False, keepdims: int = 0) -> Path:
    """Conv, depthwise Conv, hard-swish, squeeze-and-excite, a residual Add, a spatial mean and a Gemm: 16 px in, 5 logits out."""
    rng = np.random.default_rng(1)
    stored: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        stored.append(numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32), name))
        return name

    def conv(name: str, source: str, target: str, inputs: int, outputs: int, kernel: int, group: int = 1) -> onnx.NodeProto:
        names = [source, weight(f"{name}.weight", outputs, inputs // group, kernel, kernel), weight(f"{name}.bias", outputs)]
        return helper.make_node("Conv", names, [target], name=name, pads=[kernel // 2] * 4, group=group, doc_string="at /home/someone")

    def mean(source: str, target: str, keep: int) -> onnx.NodeProto:
        if opset < 18:
            return helper.make_node("ReduceMean", [source], [target], axes=[2, 3], keepdims=keep)
        if not any(tensor.name == "axes" for tensor in stored):
            stored.append(numpy_helper.from_array(np.array([-1, 2], dtype=np.int64), "axes"))
        return helper.make_node("ReduceMean", [source, "axes"], [target], keepdims=keep)

    nodes = [conv("stem", "input", "stem_raw", 3, 8, 3)]
    if batch_norm:
        for name, values in (("gamma", 1 + rng.random(8)), ("beta", rng.random(8)), ("mu", rng.random(8)), ("var", 1 + rng.random(8))):
            stored.append(numpy_helper.from_array(values.astype(np.float32), name))
        nodes.append(helper.make_node("BatchNormalization", ["stem_raw", "gamma", "beta", "mu", "var"], ["stem_norm"]))
    nodes += [
        helper.make_node("Relu", ["stem_norm" if batch_norm else "stem_raw"], ["stem_out"]),
        conv("depth", "stem_out", "depth_raw", 8, 8, 3, group=8),
        helper.make_node("HardSigmoid", ["depth_raw"], ["depth_gate"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["depth_raw", "depth_gate"], ["depth_out"]),
        mean("depth_out", "squeezed", 1),
        conv("excite", "squeezed", "excite_raw", 8, 8, 1),
        helper.make_node("HardSigmoid", ["excite_raw"], ["gate"], alpha=0.2, beta=0.5),
        helper.make_node("Mul", ["depth_out", "gate"], ["gated"]),
        helper.make_node("Add", ["gated", "stem_out"], ["sum"]),
        mean("sum", "features" if not keepdims else "features_kept", keepdims),
        helper.make_node("Gemm", ["features", weight("head.weight", 5, 8), weight("head.bias", 5)], ["logits"], transB=1),
    ]
    if keepdims:
        nodes.insert(-1, helper.make_node("Flatten", ["features_kept"], ["features"]))
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 16, 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])
    graph = helper.make_graph(nodes, "small", [images], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The small network, batch left open."""
    return build(tmp_path / "small.onnx")


@pytest.fixture
def build_small(tmp_path: Path) -> Callable[..., Path]:
    """The small network with options of `build`."""
    return lambda **options: build(tmp_path / f"small-{len(list(tmp_path.iterdir()))}.onnx", **options)


@pytest.fixture
def noise() -> type[Noise]:
    """A stream of noise images."""
    return Noise


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


def build_layer(kind: str, shape: tuple[int, ...], attributes: dict[str, Any], *, keep: bool = False) -> onnx.ModelProto:
    """One int8 layer with large weights of one sign per output: the worst case, where activations are near code 255.

    With `keep`, no pair of its weights can saturate.
    """
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
    return graph(unsaturated_codes(codes, pairs_of(free).get("w_quantized"))) if keep else free


@dataclass(frozen=True)
class OneLayer:
    """A graph of one int8 layer, the same without weights that saturate, and activations near code 255."""

    name: str
    model: onnx.ModelProto
    limited: onnx.ModelProto

    @property
    def x(self) -> NDArray[np.float32]:
        size = [value.dim_value for value in self.model.graph.input[0].type.tensor_type.shape.dim]
        return np.random.default_rng(1).uniform(0.9, 1.1, size).astype(np.float32)

    @property
    def step(self) -> float:
        """Of the outputs."""
        return next(float(numpy_helper.to_array(tensor)) for tensor in self.model.graph.initializer if tensor.name == "ys")


@pytest.fixture(scope="session")
def every_layer() -> list[OneLayer]:
    """A layer of each kind."""
    return [OneLayer(name, build_layer(*made), build_layer(*made, keep=True)) for name, made in LAYERS.items()]


@pytest.fixture(params=range(len(LAYERS)), ids=list(LAYERS))
def layer(request: pytest.FixtureRequest, every_layer: list[OneLayer]) -> OneLayer:
    """Each of them."""
    return every_layer[request.param]


@pytest.fixture
def one_layer() -> Callable[..., onnx.ModelProto]:
    """A layer of any kind, as `build_layer` makes it."""
    return build_layer


Cases = Sequence[tuple[onnx.ModelProto, NDArray[np.float32]]]
Answered = Callable[[Cases], list[NDArray[np.float32]]]
ANSWER = """
import numpy as np, onnxruntime as ort
from pathlib import Path
o = ort.SessionOptions(); o.log_severity_level = 4; o.intra_op_num_threads = 1
for model in Path().glob("*.onnx"):
    s = ort.InferenceSession(str(model), o, providers=["CPUExecutionProvider"])
    np.save(model.with_suffix(".y.npy"), s.run(None, {s.get_inputs()[0].name: np.load(model.with_suffix(".npy"))})[0])
"""


def answered(command: list[str], environment: Mapping[str, str], cases: Cases) -> list[NDArray[np.float32]]:
    """What graphs answer in one process of its own: `command` runs a Python, which `environment` is for."""
    packages = [environment.get("PYTHONPATH"), *(str(Path(found.__file__).parents[1]) for found in (onnxruntime, np))]
    known = {
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, packages)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for index, (model, x) in enumerate(cases):
            onnx.save(model, Path(folder) / f"{index}.onnx")
            np.save(Path(folder) / f"{index}.npy", x)
        full = [*command, os.path.realpath(sys.executable), "-c", ANSWER]
        subprocess.run(full, check=True, cwd=folder, env={**os.environ, **known}, capture_output=True)
        return [np.load(Path(folder) / f"{index}.y.npy") for index in range(len(cases))]


@pytest.fixture(scope="session")
def haswell() -> Answered:
    """What graphs answer on an emulated Haswell: AVX2, no VNNI."""
    emulator = next((path for name in ("qemu-x86_64", "qemu-x86_64-static") if (path := shutil.which(name))), None)
    if emulator is None or os.uname().machine != "x86_64":
        pytest.skip("needs qemu-x86_64 (Debian: qemu-user-static) on an x86-64 machine")
    return lambda cases: answered([emulator, "-cpu", "Haswell"], {}, cases)


@pytest.fixture(scope="session")
def without_vnni(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """What graphs answer with the kernels of such a CPU at this machine's speed (scripts/without_vnni.py)."""
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "without_vnni.py"))
    if reason := script["why_not"]():
        pytest.skip(reason)
    environment = script["environment"](tmp_path_factory.mktemp("without_vnni"))
    return lambda cases: answered([], environment, cases)


def bounded_layers(path: Path, layers: Sequence[str] = ("first", "second", "third"), side: int = 16) -> Path:
    """Layers with a Relu6 each, whose channels have weights of other sizes, a spatial mean and a Gemm: 4 logits out."""
    rng, nodes, stored, before = np.random.default_rng(3), [], [], "image"
    for channels, name in zip((3, *[12] * len(layers)), layers, strict=False):
        weights = rng.standard_normal((12, channels, 3, 3)) * np.geomspace(0.02, 1, 12)[:, None, None, None]
        stored.append(numpy_helper.from_array(weights.astype(np.float32), f"{name}_weight"))
        nodes.append(helper.make_node("Conv", [before, f"{name}_weight"], [f"{name}_sum"], name=name, pads=[1] * 4))
        nodes.append(helper.make_node("Clip", [f"{name}_sum", "zero", "six"], [f"{name}_out"], name=f"{name}_bound"))
        before = f"{name}_out"
    stored += [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("six", 6))]
    stored.append(numpy_helper.from_array(rng.standard_normal((12, 4)).astype(np.float32), "head"))
    nodes += [helper.make_node("GlobalAveragePool", [before], ["mean"], name="mean"), helper.make_node("Flatten", ["mean"], ["flat"])]
    nodes.append(helper.make_node("Gemm", ["flat", "head"], ["logits"], name="classifier"))
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["n", 3, side, side]), ("logits", ["n", 4]))
    )
    graph = helper.make_graph(nodes, "bounded", [image], [logits], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
