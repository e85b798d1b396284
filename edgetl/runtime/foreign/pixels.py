"""What to do about a model that takes bytes: where to cut, and the normalization that is cut off with it."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.preprocess_rules import MOST_CHANNELS
from edgetl.runtime.foreign.graph import constants, readers, values_of

WHITE = 255.0
BEHIND = frozenset({"Cast", "Identity", "Transpose"})


def pixel_input_advice(model: onnx.ModelProto, value: str, name: str) -> str:
    """What to do about the input `value`, which is not float: the cut behind casts and arithmetic, and a Preprocess for them."""
    cut, factor, offset = _normalization(model.graph, value)
    outputs = json.dumps([output.name for output in model.graph.output])
    if cut == value:
        return ". Export it so that it takes float32 images"
    line = f'onnx.utils.extract_model({json.dumps(name)}, "cut.onnx", {json.dumps([cut])}, {outputs})'
    mean, std = -offset / factor / WHITE, 1 / factor / WHITE
    given = json.dumps({"mean": _rounded(mean), "std": _rounded(std)})
    return f". Cut it at the float value {cut}: {line}; what is cut off is the normalization {given} for --preprocess"


def _normalization(graph: onnx.GraphProto, value: str) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """The last value that is factor * input + offset, with one or several factors and offsets."""
    known = constants(graph)
    factor, offset = np.ones(1), np.zeros(1)
    for _ in graph.node:
        if len(nodes := readers(graph, value)) != 1:
            break
        (node,) = nodes
        others = [known[name] for name in node.input if name in known]
        if node.op_type in BEHIND:
            value = node.output[0]
            continue
        turned = node.input[0] != value and node.op_type not in ("Add", "Mul")
        if node.op_type not in ("Sub", "Add", "Mul", "Div") or len(others) != 1 or turned or math.prod(others[0].dims) > MOST_CHANNELS:
            break
        number = values_of(others[0]).astype(np.float64).reshape(-1)
        match node.op_type:
            case "Sub":
                offset = offset - number
            case "Add":
                offset = offset + number
            case "Mul":
                factor, offset = factor * number, offset * number
            case "Div":
                factor, offset = factor / number, offset / number
        value = node.output[0]
    return value, factor, offset


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) + 0.0 for value in np.broadcast_to(values, (3,) if len(values) == 1 else values.shape)]
