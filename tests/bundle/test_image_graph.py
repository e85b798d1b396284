"""The laws of model.image.onnx: the same logits as model.onnx bit for bit, probabilities as the task defines them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.bundle.image_graph import with_image_input, write_image_models
from edgetl.core.preprocess import Preprocess
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Meaning

from .conftest import PREPROCESS, float_graph

RGB = Preprocess(size=16, resize=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GRAY = Preprocess(size=16, resize=16, mean=(0.28,), std=(0.25,), color="gray")
MIDWAY = Preprocess(size=16, resize=16, mean=(0.3,), std=(0.25,), color="gray")  # 0 lies between the levels 76 and 77


def pixels(preprocess: Preprocess, count: int = 6) -> NDArray[np.uint8]:
    """Noise, and one picture with every level."""
    shape = (count, *preprocess.shape[1:], preprocess.channels)
    made = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    made[0] = np.arange(made[0].size, dtype=np.uint8).reshape(made[0].shape)
    return made


def asked(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    return list(ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, dict(feed)))


def network(preprocess: Preprocess, beginning: list[onnx.NodeProto], values: Mapping[str, NDArray[Any]], last: str) -> onnx.ModelProto:
    """`beginning` reads `x`; a Conv reads `last`, then comes the mean of each of five channels."""
    channels = preprocess.channels
    weight = np.random.default_rng(1).integers(-8, 8, (5, channels, 3, 3)) / 64
    tensors = {"w": weight.astype(np.float32), **values}
    nodes = [
        *beginning,
        helper.make_node("Conv", [last, "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *preprocess.shape])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def codes(preprocess: Preprocess, pads: tuple[int, ...] = ()) -> onnx.ModelProto:
    """Levels become codes, each channel with a scale and zero point of its own, as `pixel_codes.folded` writes them."""
    mean, std = np.float32(preprocess.mean), np.float32(preprocess.std)
    values = {"s": 1 / (255 * std), "z": np.rint(mean * 255).astype(np.uint8), "k": np.float32(1 / 255), "o": np.uint8(114)}
    read, nodes = "x", []
    if pads:
        values["p"], read = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64), "padded"
        nodes = [helper.make_node("Pad", ["x", "p"], ["padded"])]
    nodes += [
        helper.make_node("QuantizeLinear", [read, "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "k", "o"], ["d"]),
    ]
    return network(preprocess, nodes, {name: np.asarray(value) for name, value in values.items()}, "d")


def whole(preprocess: Preprocess, factor: NDArray[np.float32]) -> onnx.ModelProto:
    """Whole numbers, as `exact_stem` writes them."""
    nodes = [
        helper.make_node("Mul", ["x", "f"], ["m"]),
        helper.make_node("Round", ["m"], ["r"]),
        helper.make_node("Clip", ["r", "low", "high"], ["d"]),
    ]
    limits = {"low": np.array(-2048, np.float32), "high": np.array(2048, np.float32)}
    return network(preprocess, nodes, {"f": factor.astype(np.float32), **limits}, "d")


def levels(preprocess: Preprocess) -> NDArray[np.float32]:
    return (np.float32(preprocess.std) * 255).reshape(1, -1, 1, 1)


CASES: Mapping[str, tuple[onnx.ModelProto, Preprocess, str]] = {
    "float": (network(RGB, [], {}, "x"), RGB, "Transpose Cast Div Sub Div Conv"),
    "gray float": (network(GRAY, [], {}, "x"), GRAY, "Transpose Cast Div Sub Div Conv"),
    "codes": (codes(RGB), RGB, "Transpose DequantizeLinear Conv"),
    "gray codes": (codes(GRAY), GRAY, "Transpose DequantizeLinear Conv"),
    "padded codes": (codes(RGB, (1, 2, 3, 0)), RGB, "Transpose Slice Slice Slice Pad Pad Pad Concat DequantizeLinear Conv"),
    "gray padded codes": (codes(GRAY, (1, 1, 1, 1)), GRAY, "Transpose Pad DequantizeLinear Conv"),
    "codes of another scale": (codes(Preprocess(size=16, resize=16)), PREPROCESS.at(16), "Transpose DequantizeLinear Add QuantizeLinear"),
    "whole": (whole(RGB, levels(RGB)), RGB, "Transpose DequantizeLinear Conv"),
    "gray whole": (whole(GRAY, levels(GRAY)), GRAY, "Transpose DequantizeLinear Conv"),
    "midway": (codes(MIDWAY), MIDWAY, "Transpose "),  # rounding decides: whichever way, the same
    "whole of a power of two": (whole(RGB, np.float32([512])), RGB, "Transpose DequantizeLinear Add Round Conv"),
    "own names": (float_graph(), PREPROCESS, "Transpose Cast Div Sub Div Conv"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_logits_bit_for_bit(name: str) -> None:
    model, preprocess, beginning = CASES[name]
    made, x = with_image_input(model, preprocess), pixels(preprocess)
    onnx.checker.check_model(made, full_check=True)
    (expected,) = asked(model, {model.graph.input[0].name: preprocess.normalize(x)})
    probabilities, logits = asked(made, {"image": x})
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_allclose(probabilities, Classification(classes=("a",) * 5).confidences(expected), atol=1e-6)
    assert " ".join(node.op_type for node in made.graph.node).startswith(beginning)
    assert {entry.domain for entry in made.opset_import} == {""}


@pytest.mark.parametrize("meaning", ["logits", "probabilities", "log_probabilities", "sigmoids", "sigmoid", "logit"])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_probabilities_are_the_tasks_confidences(meaning: Meaning, temperature: float) -> None:
    """Of outputs as another graph would give them: the head is a function of numbers."""
    model = network(RGB, [], {}, "x")
    ends = {"probabilities": "Softmax", "log_probabilities": "LogSoftmax", "sigmoids": "Sigmoid", "sigmoid": "Sigmoid"}
    model.graph.node[-1].output[0] = "raw"
    if meaning in ("sigmoid", "logit"):
        model.graph.node.append(helper.make_node("ReduceSum", ["raw", "axes"], ["one"], keepdims=1))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    before = model.graph.node[-1].output[0]
    model.graph.node.append(helper.make_node(ends.get(meaning, "Identity"), [before], ["out"]))
    made, x = with_image_input(model, RGB, meaning, temperature), pixels(RGB)
    onnx.checker.check_model(made, full_check=True)
    (expected,) = asked(model, {"x": RGB.normalize(x)})
    probabilities, logits = asked(made, {"image": x})
    np.testing.assert_array_equal(logits, expected)
    task = Classification(classes=("a", "b") if meaning in ("sigmoid", "logit") else ("a",) * 5, meaning=meaning)
    np.testing.assert_allclose(probabilities, task.confidences(expected, temperature), atol=1e-6)


def test_outputs_of_four_axes_become_rows() -> None:
    model = network(RGB, [], {}, "x")
    del model.graph.node[-1]
    model.graph.node[-1].output[0] = "out"
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5, 1, 1]))
    probabilities, logits = asked(with_image_input(model, RGB), {"image": pixels(RGB)})
    assert probabilities.shape == logits.shape == (6, 5)


def test_another_mean_is_told_apart() -> None:
    """The guard can fail: levels of other images are no codes of these."""
    other = Preprocess(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    made = with_image_input(codes(RGB), other)
    assert [node.op_type for node in made.graph.node][:3] == ["Transpose", "DequantizeLinear", "Add"]


def test_any_batch_can_be_fixed_to_one_by_its_name() -> None:
    """As the bundle's README tells accelerators that take fixed shapes only."""
    model, x = with_image_input(codes(RGB), RGB), pixels(RGB)
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("batch", 1)
    fixed = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert fixed.get_inputs()[0].shape == [1, 16, 16, 3]
    for found, expected in zip(fixed.run(None, {"image": x[:1]}), asked(model, {"image": x[:1]}), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_of_old_files_that_are_inputs_too_stay_weights(tmp_path: Path) -> None:
    """ONNX before IR version 4 lists every weight among the inputs, here in front of the image."""
    plain = tmp_path / "plain"
    plain.mkdir()
    onnx.save_model(float_graph(), plain / "model.onnx")
    old = onnx.load(plain / "model.onnx")
    weights = [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in old.graph.initializer]
    inputs = [*weights, *old.graph.input]
    del old.graph.input[:]
    old.graph.input.extend(inputs)
    old.ir_version = 3
    (tmp_path / "old").mkdir()
    onnx.save_model(old, tmp_path / "old" / "model.onnx")
    for folder in ("plain", "old"):
        write_image_models(tmp_path / folder, PREPROCESS, "logits", 1.0)
    found = [
        ort.InferenceSession(str(tmp_path / folder / "model.image.onnx")).run(None, {"image": pixels(PREPROCESS)})
        for folder in ("plain", "old")
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True)) and len(weights) > 0
