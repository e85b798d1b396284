"""A shortcut that slices and pads is one Conv on codes, and gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.engine import quantize
from edgetl.quantization.layout.padded_codes import PADDED_CODES
from edgetl.quantization.layout.strided_shortcut import STRIDED_SHORTCUT
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_graph


def network(
    path: Path,
    *,
    channels: int = 8,
    more: tuple[int, int] = (2, 2),
    start: int = 0,
    steps: tuple[int, int] = (2, 2),
    value: float = 0.0,
    size: int = 17,
) -> Path:
    """A residual block that takes every `steps`th row and column from `start` on and adds `more` channels; 4 logits out."""
    rng = np.random.default_rng(0)
    wide = channels + sum(more)
    values = {
        "a": rng.standard_normal((channels, 3, 3, 3)) / 4,
        "b": rng.standard_normal((wide, channels, 3, 3)) / 4,
        "c": rng.standard_normal((wide, 4)) / 4,
        "value": np.array(value),
    }
    whole = {"start": [start], "end": [2**63 - 1], "rows": [2], "columns": [3], "down": [steps[0]], "right": [steps[1]]}
    whole["amounts"] = [0, more[0], 0, 0, 0, more[1], 0, 0]
    stored = [numpy_helper.from_array(item.astype(np.float32), name) for name, item in values.items()]
    stored += [numpy_helper.from_array(np.array(item, np.int64), name) for name, item in whole.items()]
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x1"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["x1"], ["x2"], name="relu"),
        helper.make_node("Conv", ["x2", "b"], ["x3"], name="second", pads=[1] * 4, strides=steps),
        helper.make_node("Slice", ["x2", "start", "end", "rows", "down"], ["x4"], name="slice_rows"),
        helper.make_node("Slice", ["x4", "start", "end", "columns", "right"], ["x5"], name="slice_columns"),
        helper.make_node("Pad", ["x5", "amounts", "value"], ["x6"], name="pad"),
        helper.make_node("Add", ["x3", "x6"], ["x7"], name="add"),
        helper.make_node("GlobalAveragePool", ["x7"], ["x8"], name="mean"),
        helper.make_node("Flatten", ["x8"], ["x9"], name="flat"),
        helper.make_node("Gemm", ["x9", "c"], ["logits"], name="classifier"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def int8(path: Path, noise: Any, size: int = 17) -> onnx.ModelProto:
    start = Baseline.of(prepare_graph(path), noise(12, side=size), "arm64", batch_size=4, threads=1)
    return PADDED_CODES(start.by_extremes)


@pytest.mark.parametrize(("more", "steps"), [((2, 2), (2, 2)), ((0, 3), (2, 1)), ((5, 0), (3, 2)), ((4, 4), (1, 4))])
def test_the_same_bits_from_one_conv(noise: Any, tmp_path: Path, more: tuple[int, int], steps: tuple[int, int]) -> None:
    before = int8(network(tmp_path / "n.onnx", more=more, steps=steps), noise)
    after = STRIDED_SHORTCUT(before)
    kinds = [node.op_type for node in after.graph.node]
    assert not {"Slice", "Pad"} & {*kinds} and kinds.count("Conv") == 3
    (batch,) = noise(30, side=17, seed=1).batches(30)
    np.testing.assert_array_equal(open_graph(before).run(batch.x), open_graph(after).run(batch.x))


@pytest.mark.parametrize("options", [{"steps": (1, 1)}, {"start": 1}, {"value": 0.4}, {"channels": 64, "more": (32, 32)}])
def test_other_slices_and_large_ones_are_left_alone(noise: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    before = int8(network(tmp_path / "n.onnx", size=16, **options), noise, size=16)
    assert STRIDED_SHORTCUT(before) is before


@pytest.mark.parametrize(("target", "convs", "slices"), [("x86", 20, 0), ("portable", 21, 0), ("arm64", 19, 4)])
def test_a_residual_network(shared: Path, noise: Any, tmp_path: Path, target: Any, convs: int, slices: int) -> None:
    out = tmp_path / "int8.onnx"
    quantize(shared / "models" / "resnet20_cifar10.onnx", noise(4, side=32), target=target, out=out, tune_images=0)
    ran = [kernel.kind for kernel in kernels(out, runs=1)]
    assert ran.count("QLinearConv") == convs and ran.count("Slice") == slices  # x86 has the stem in float
