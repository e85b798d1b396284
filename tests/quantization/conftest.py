"""Small real networks and streams of noise for the int8 engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


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
