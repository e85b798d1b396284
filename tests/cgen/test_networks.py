"""Small networks as edgetl itself quantizes them, for `portable`: the C code gives onnxruntime's bits for their logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.cgen.averages import with_whole_averages
from edgetl.cgen.plan import WholeConv
from edgetl.cgen.read import read_plan
from edgetl.core.preprocess import Preprocess
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import Arrays

SIZE, CLASSES = 32, 5


class Float:
    """A float graph in the making."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def constant(self, value: Any, name: str) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, value: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> str:
        shape = (outputs, inputs // group, kernel, kernel)
        name = f"w{len(self.nodes)}"
        weight = self.rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        both = self.constant(weight, name), self.constant(self.rng.normal(0, 0.1, outputs), f"{name}_bias")
        pad = kernel // 2
        form = {"pads": [pad] * 4, "strides": [stride] * 2, "group": group, "kernel_shape": [kernel] * 2}
        return self.node("Conv", value, *both, **form)

    def relu6(self, value: str) -> str:
        if "low" not in {tensor.name for tensor in self.stored}:
            self.constant(0.0, "low"), self.constant(6.0, "high")
        return self.node("Clip", value, "low", "high")

    def model(self, value: str, channels: int) -> onnx.ModelProto:
        flat = self.node("Flatten", self.node("GlobalAveragePool", value))
        weight = self.constant(self.rng.normal(0, 1, (CLASSES, channels)), "head")
        return self.ended(self.node("Gemm", flat, weight, self.constant(self.rng.normal(0, 0.1, CLASSES), "offsets"), transB=1))

    def ended(self, answer: str) -> onnx.ModelProto:
        """The graph with that answer."""
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("image", ["batch", 3, SIZE, SIZE]), (answer, ["batch", CLASSES]))
        ]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def residual(seed: int) -> onnx.ModelProto:
    """As ResNets: a stem with a max pool, residual Adds."""
    f = Float(seed)
    x = f.node("MaxPool", f.node("Relu", f.conv("image", 3, 8)), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = f.conv(f.node("Relu", f.conv(x, 8, 8)), 8, 8)
    x = f.node("Relu", f.node("Add", f.conv(x, 8, 8, 1), y))
    return f.model(f.node("Relu", f.node("Add", x, f.conv(f.node("Relu", f.conv(x, 8, 8)), 8, 8))), 8)


def separable(seed: int) -> onnx.ModelProto:
    """As EfficientNet-Lite: depthwise Convs and ReLU6, a linear bottleneck, an Add."""
    f = Float(seed)
    x = f.relu6(f.conv("image", 3, 8, stride=2))
    x = f.conv(f.relu6(f.conv(x, 8, 8, group=8)), 8, 6, 1)
    y = f.relu6(f.conv(f.relu6(f.conv(x, 6, 24, 1)), 24, 24, 5, group=24))
    x = f.node("Add", x, f.conv(y, 24, 6, 1))
    return f.model(f.relu6(f.conv(x, 6, 16, 1)), 16)


def joined(seed: int) -> onnx.ModelProto:
    """As SqueezeNet with a linear head: Concats of two branches, max and average pools."""
    f = Float(seed)
    return f.model(f.node("Relu", f.conv(_branches(f), 16, 12, group=2)), 12)


def averaged(seed: int) -> onnx.ModelProto:
    """As SqueezeNet with its own head: the means of a last Conv's channels are the logits."""
    f = Float(seed)
    means = f.node("GlobalAveragePool", f.node("Relu", f.conv(_branches(f), 16, CLASSES, 1)))
    return f.ended(f.node("Flatten", means))


def _branches(f: Float) -> str:
    x = f.node("Relu", f.conv("image", 3, 8, stride=2))
    x = f.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    squeezed = f.node("Relu", f.conv(x, 8, 4, 1))
    x = f.node("Concat", f.node("Relu", f.conv(squeezed, 4, 8, 1)), f.node("Relu", f.conv(squeezed, 4, 8)), axis=1)
    return f.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def photos(count: int, seed: int) -> NDArray[np.uint8]:
    """Smooth colors with some noise: uint8 [count, SIZE, SIZE, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, SIZE // 8, SIZE // 8, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("network", [residual, separable, joined, averaged])
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_are_onnxruntimes_bit_for_bit(
    network: Callable[[int], onnx.ModelProto], seed: int, compiler: Any, reference: Any, tmp_path: Path
) -> None:
    preprocess = Preprocess(size=SIZE, resize=SIZE)
    onnx.save(network(seed), tmp_path / "float.onnx")
    calibration = Arrays(np.stack([preprocess.normalize(image) for image in photos(48, 7)]))
    quantize(tmp_path / "float.onnx", calibration, target="portable", out=tmp_path / "int8.onnx", threads=1, tune_images=32)
    model, images = with_whole_averages(onnx.load(tmp_path / "int8.onnx")), photos(40, 8)
    expected = reference(model, preprocess, images)
    found = compiler.logits(model, preprocess, images, CLASSES)
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))
    assert any(isinstance(operator, WholeConv) for operator in read_plan(model, preprocess).operators)
