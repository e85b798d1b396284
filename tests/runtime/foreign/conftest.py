"""A small classifier whose every part a test can replace, and onnxruntime as it is, as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

Build = Callable[..., onnx.ModelProto]
SHAPE = ("n", 3, 12, 12)


def classifier(
    *,
    front: Sequence[onnx.NodeProto] = (),
    middle: Sequence[onnx.NodeProto] = (),
    tail: Sequence[onnx.NodeProto] = (),
    shape: Sequence[Any] = SHAPE,
    kind: int = TensorProto.FLOAT,
    outputs: Sequence[onnx.ValueInfoProto] = (),
    stored: dict[str, Any] | None = None,
    opset: int = 17,
    imports: Sequence[tuple[str, int]] = (),
) -> onnx.ModelProto:
    """X -> `front` -> image -> Conv, Relu -> r -> `middle` -> h -> mean, Gemm -> scores -> `tail`; five scores.

    Without `front`, the input is called image; without `middle`, h is r; without `outputs`, the output is scores.
    """
    rng = np.random.default_rng(0)
    given = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.3,
        "f": rng.standard_normal((8, 5)).astype(np.float32),
        "b": rng.standard_normal(5).astype(np.float32),
    } | (stored or {})
    hidden = "h" if middle else "r"
    nodes = [
        *front,
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        *middle,
        helper.make_node("GlobalAveragePool", [hidden], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "f", "b"], ["scores"], name="fc"),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x" if front else "image", kind, list(shape))],
        list(outputs) or [helper.make_tensor_value_info("scores", kind if kind != TensorProto.UINT8 else TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in [("", opset), *imports]]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def answers(model: onnx.ModelProto | Path, x: np.ndarray[Any, Any], output: str | None = None) -> np.ndarray[Any, Any]:
    """What onnxruntime gives, without anything of ours."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    given = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    engine = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return np.asarray(engine.run([output] if output else None, {engine.get_inputs()[0].name: x})[0])


@pytest.fixture
def build() -> Build:
    return classifier


@pytest.fixture
def ask() -> Callable[..., np.ndarray[Any, Any]]:
    return answers


@pytest.fixture
def images() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).standard_normal((6, 3, 12, 12), dtype=np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    def saved(model: onnx.ModelProto) -> Path:
        onnx.save(model, tmp_path / "theirs.onnx")
        return tmp_path / "theirs.onnx"

    return saved
