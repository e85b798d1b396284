"""The float graph of an int8 file of unknown origin: what it computes without rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.bundle.unrounded import is_quantized, unrounded
from edgetl.core.errors import InputError

from .conftest import PREPROCESS, picture


def outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def test_it_answers_between_float_and_int8(graphs: tuple[Path, Path]) -> None:
    """Nearer to the float graph than int8 is, for rounding of activations is gone, and not the same, for that of weights stays."""
    float_model, int8 = (onnx.load(path) for path in graphs)
    made = unrounded(int8)
    onnx.checker.check_model(made, full_check=True)
    assert not is_quantized(made) and is_quantized(int8) and not is_quantized(float_model)
    x = np.stack([PREPROCESS(picture(seed, 40, 40)) for seed in range(8)])
    exact, rounded, between = (outputs(model, x) for model in (float_model, int8, made))
    assert 0 < np.abs(between - exact).mean() < np.abs(rounded - exact).mean()


def tiny(nodes: list[onnx.NodeProto], **values: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_scales_of_channels_codes_that_are_moved_and_cut_off_values() -> None:
    """By the formulas of QuantizeLinear and DequantizeLinear, without the rounding."""
    steps, zeros = np.array([0.5, 0.25], np.float32), np.array([3, 5], np.uint8)
    model = tiny(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
            helper.make_node("Pad", ["q", "pads", "fill"], ["p"]),
            helper.make_node("DequantizeLinear", ["p", "one", "ten"], ["y"]),
        ],
        s=steps, z=zeros, one=np.array(2, np.float32), ten=np.array(10, np.uint8),
        pads=np.array([0, 0, 0, 1, 0, 0, 0, 0], np.int64), fill=np.array(7, np.uint8),
    )  # fmt: skip
    x = np.array([-9, 0.1, 1, 200], np.float32).reshape(1, 1, 2, 2) * np.ones((1, 2, 1, 1), np.float32)
    codes = np.clip(x / steps.reshape(1, 2, 1, 1) + zeros.reshape(1, 2, 1, 1), 0, 255)
    expected = (np.pad(codes, ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=7) - 10) * 2
    np.testing.assert_allclose(outputs(unrounded(model), x), expected, rtol=1e-6)


def test_operators_on_integers_are_named() -> None:
    model = tiny(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    )
    with pytest.raises(InputError, match="DynamicQuantizeLinear"):
        unrounded(model)
