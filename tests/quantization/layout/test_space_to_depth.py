"""The first Conv reads squares as channels, where that is faster, and gives the same codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.unsaturated import graph_to_judge
from edgetl.quantization.engine import quantize
from edgetl.quantization.layout.space_to_depth import SPACE_TO_DEPTH
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_graph


def first(
    kernel: tuple[int, int], *, size: int = 24, outputs: int = 8, channels: int = 3, zero: int = 117, **attributes: Any
) -> onnx.ModelProto:
    """A QDQ graph of one Conv, `size` px in; `zero` is the code of 0."""
    rng = np.random.default_rng(0)
    group = attributes.get("group", 1)
    values = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(zero, np.uint8),
        "w": rng.integers(-127, 128, (outputs, channels // group, *kernel)).astype(np.int8),
        "w_scale": rng.uniform(0.001, 0.01, outputs).astype(np.float32),
        "w_zero": np.zeros(outputs, np.int8),
        "y_scale": np.array(0.1, np.float32),
        "y_zero": np.array(30, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weight"], axis=0),
        helper.make_node("Conv", ["x", "weight"], ["y"], name="first", **attributes),
        helper.make_node("QuantizeLinear", ["y", "y_scale", "y_zero"], ["y_codes"]),
        helper.make_node("DequantizeLinear", ["y_codes", "y_scale", "y_zero"], ["out"]),
        helper.make_node("Flatten", ["out"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, size, size + 1])]
    outputs_of = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "first", inputs, outputs_of, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def weight_of(model: onnx.ModelProto) -> list[int]:
    return next(list(tensor.dims) for tensor in model.graph.initializer if tensor.name == "w")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [3, 2, 0, 1]])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (5, 3), (7, 7), (4, 1)])
@pytest.mark.parametrize("size", [128, 131])
def test_every_other_place_of_a_large_image(kernel: tuple[int, int], pads: list[int], size: int, channels: int) -> None:
    before = first(kernel, size=size, channels=channels, strides=[2, 2], pads=pads)
    after = SPACE_TO_DEPTH(before)
    assert weight_of(after) == [8, 4 * channels, -(-kernel[0] // 2), -(-kernel[1] // 2)]
    x = np.random.default_rng(1).standard_normal((2, channels, size, size + 1), dtype=np.float32)
    np.testing.assert_array_equal(open_graph(graph_to_judge(after)).run(x), open_graph(graph_to_judge(before)).run(x))


OTHERS = [
    {"size": 100},
    {"strides": [1, 1]},
    {"channels": 4},
    {"dilations": [2, 2]},
    {"outputs": 18, "group": 3},
    {"auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("options", OTHERS)
def test_what_it_would_not_help_is_left_alone(options: dict[str, Any]) -> None:
    model = first((7, 7), **{"size": 128, "strides": [2, 2]} | options)
    assert SPACE_TO_DEPTH(model) is model


def test_so_are_codes_that_others_read_and_images_of_any_size() -> None:
    shared, free = (first((7, 7), size=128, strides=[2, 2]) for _ in range(2))
    shared.graph.output.append(helper.make_tensor_value_info("codes", TensorProto.UINT8, None))
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    assert SPACE_TO_DEPTH(shared) is shared and SPACE_TO_DEPTH(free) is free


@pytest.mark.parametrize("target", ["x86", "portable"])
def test_for_x86_alone(shared: Path, noise: Any, tmp_path: Path, target: Any) -> None:
    out = tmp_path / "int8.onnx"
    quantize(shared / "models" / "squeezenet1_0_imagenet.onnx", noise(4, side=224), target=target, out=out, tune_images=0)
    sizes = {tuple(tensor.dims) for tensor in onnx.load(out).graph.initializer}
    assert ((96, 12, 4, 4) in sizes) is (target == "x86") and ((96, 3, 7, 7) in sizes) is (target != "x86")
    convs = [kernel.on for kernel in kernels(out, runs=1) if kernel.kind == "QLinearConv"]
    assert convs == ["int8"] * 26
