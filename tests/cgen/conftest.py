"""Small int8 graphs of every operator that the C code has, and what onnxruntime and the compiled C answer to the same pixels."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.cgen.write import write_c
from edgetl.core.preprocess import Preprocess

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
Logits = NDArray[np.float32]


@dataclass
class Graph:
    """A QDQ graph, operator by operator; each method gives the name of what it made."""

    rng: np.random.Generator
    preprocess: Preprocess
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)

    def constant(self, value: object, dtype: type) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, channels: int | None = None, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        self.channels[name] = channels if channels is not None else self.channels[inputs[0]]
        self.scales[name] = self.scales.get(inputs[0], 1.0)  # of what moves or pools codes: the same
        return name

    def image(self) -> str:
        """The codes of the image, each channel with its own scale."""
        self.channels["image"] = self.preprocess.channels
        deviation, mean = np.array(self.preprocess.std), np.array(self.preprocess.mean)
        scale = self.constant(1 / 255 / deviation, np.float32)
        zero = self.constant(np.rint(255 * mean), np.uint8)
        codes = self.node("QuantizeLinear", "image", scale, zero, axis=1)
        return self.decoded(codes, 1 / 255, 110)

    def decoded(self, codes: str, scale: float, zero: int) -> str:
        name = self.node("DequantizeLinear", codes, self.constant(scale, np.float32), self.constant(zero, np.uint8))
        self.scales[name] = scale
        return name

    def coded(self, value: str, scale: float | None = None, zero: int | None = None) -> str:
        """Through codes with a scale and a zero point, of its own where none is given."""
        scale = float(self.rng.uniform(0.01, 0.05)) if scale is None else scale
        zero = int(self.rng.integers(0, 200)) if zero is None else zero
        named = self.constant(scale, np.float32), self.constant(zero, np.uint8)
        name = self.node("DequantizeLinear", self.node("QuantizeLinear", value, *named), *named)
        self.scales[name] = scale
        return name

    def weights(self, value: str, *shape: int, zero: bool = False, transposed: bool = False) -> tuple[str, str]:
        """int8 weights of what reads `value` and int32 biases behind DequantizeLinear, a scale for each output."""
        codes = self.rng.integers(-63, 64, shape, dtype=np.int8)
        scale = self.rng.uniform(0.5, 1.5, shape[0]) / np.sqrt(np.prod(shape[1:])) / 20
        bias = self.rng.integers(-2000, 2000, shape[0], dtype=np.int32)
        made = []
        for codes_of, dtype in ((codes.T if transposed else codes, np.int8), (bias, np.int32)):
            step = scale if dtype is np.int8 else np.float32(scale) * np.float32(self.scales[value])
            named = self.constant(codes_of, dtype), self.constant(step, np.float32)
            if zero and dtype is np.int8:
                named = (*named, self.constant(np.zeros(shape[0]), np.int8))
            axis = 1 if transposed and dtype is np.int8 else 0
            made.append(self.node("DequantizeLinear", *named, channels=shape[0], axis=axis))
        return made[0], made[1]

    def conv(self, value: str, outputs: int, kernel: tuple[int, int] = (3, 3), group: int = 1, **attributes: Any) -> str:
        weight, bias = self.weights(value, outputs, self.channels[value] // group, *kernel)
        return self.node("Conv", value, weight, bias, channels=outputs, kernel_shape=kernel, group=group, **attributes)

    def head(self, value: str, size: int, classes: int = 7) -> str:
        """Flattened, `size` values of each image, and a Gemm of logits."""
        flat = self.node("Flatten", value)
        weight, bias = self.weights(flat, classes, size, zero=True)
        return self.node("Gemm", flat, weight, bias, transB=1)

    def model(self, answer: str) -> onnx.ModelProto:
        """The graph that answers with that value."""
        output = helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *self.preprocess.shape])
        graph = helper.make_graph(self.nodes, "small", [image], [output], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def ort_logits(model: onnx.ModelProto, preprocess: Preprocess, images: Iterable[NDArray[np.uint8]]) -> Logits:
    """onnxruntime's, [images, logits]."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: preprocess.normalize(image)[None]})[0].reshape(1, -1) for image in images])


@dataclass(frozen=True)
class Compiler:
    """gcc, or another compiler of this machine's code."""

    folder: Path
    name: str = "gcc"

    def library(self, model: onnx.ModelProto, preprocess: Preprocess, classes: int, *options: str) -> ctypes.CDLL:
        """The C code of a graph, compiled with all warnings as errors."""
        write_c(model, preprocess, [f"class {index}" for index in range(classes)], self.folder)
        return self.compiled(*options)

    def compiled(self, *options: str) -> ctypes.CDLL:
        """The C code that lies in the folder."""
        file = self.folder / f"c{len(list(self.folder.iterdir()))}.so"  # a loaded one must not be written again
        command = [self.name, *STRICT, "-O1", *options, "-shared", "-fPIC", "-o", str(file), str(self.folder / "classifier.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(file))

    def logits(self, model: onnx.ModelProto, preprocess: Preprocess, images: NDArray[np.uint8], classes: int, *options: str) -> Logits:
        """Those of the compiled C, [images, logits]."""
        library = self.library(model, preprocess, classes, *options)
        found = np.zeros((len(images), classes), np.float32)
        for image, row in zip(images, found, strict=True):
            library.classifier_run(np.ascontiguousarray(image).ctypes.data_as(ctypes.c_void_p), row.ctypes.data_as(ctypes.c_void_p))
        return found


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler: no gcc")
    return Compiler(tmp_path)


@pytest.fixture(scope="session")
def reference() -> Callable[[onnx.ModelProto, Preprocess, Iterable[NDArray[np.uint8]]], Logits]:
    return ort_logits


@pytest.fixture
def graph() -> Callable[..., Graph]:
    def make(seed: int = 0, size: int = 12, color: str = "RGB") -> Graph:
        channels = 3 if color == "RGB" else 1
        preprocess = Preprocess(size=size, resize=size, color=color, mean=(0.45,) * channels, std=(0.25,) * channels)
        return Graph(np.random.default_rng(seed), preprocess)

    return make


@pytest.fixture
def agree(compiler: Compiler) -> Callable[..., None]:
    """Asserts that the C code gives onnxruntime's bits for random images, and that these are of use."""

    def check(graph: Graph, answer: str, images: int = 6) -> None:
        height, width = graph.preprocess.shape[1:]
        noise = graph.rng.integers(0, 256, (images, height, width, graph.preprocess.channels), dtype=np.uint8)
        noise[: images // 2] //= 3  # dark ones, too
        model = graph.model(answer)
        expected = ort_logits(model, graph.preprocess, noise)
        assert len(np.unique(expected)) > images, "logits that hardly depend on the image prove nothing"
        found = compiler.logits(model, graph.preprocess, noise, expected.shape[1])
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))

    return check
