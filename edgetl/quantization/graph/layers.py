"""The layers of a QDQ graph: which constants are the weight and the bias of which operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX

from edgetl.quantization.graph.index import GraphIndex

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
BOUNDING = frozenset({"Relu", "Clip"})  # what kernels take up into the layer in front of them
UINT8_MAX = 255  # the largest code of an activation
WEIGHT_CODE_MAX = 127  # the largest code of a weight; symmetric, so that no code stands alone
INT32_MAX = 2**31 - 1


class UnknownOperator(Exception):
    """A graph that cannot be run in torch; the message names the operator."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A Conv, Gemm or MatMul with an int8 weight.

    Attributes:
        node: the operator.
        weight: the DequantizeLinear of its weight.
        bias: the DequantizeLinear of its bias, if it has one.
        source: the DequantizeLinear of its activations; None if they are in float.
    """

    node: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto | None
    source: onnx.NodeProto | None

    @property
    def name(self) -> str:
        """The weight's name in the float graph."""
        return float_name(self.weight.input[0])


def layers(index: GraphIndex) -> Iterator[Layer]:
    """The layers of a QDQ graph, in its order."""
    for node in index.nodes:
        if node.op_type not in WEIGHTED:
            continue
        source, weight, bias = ([index.producer(name, "DequantizeLinear") for name in node.input] + [None])[:3]
        if weight is not None and weight.input[0] in index.constants:
            yield Layer(node=node, weight=weight, bias=bias, source=source)


def absorbed(floats: GraphIndex, qdq: GraphIndex) -> dict[str, tuple[float | None, float | None]]:
    """Name of an activation -> its bounds, if the QDQ writer replaced its Relu or Clip by the quantizer, which must keep them."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for node in floats.nodes:
        maker = qdq.producer(node.output[0])
        if node.op_type in BOUNDING and maker is not None and maker.op_type != node.op_type:
            found[node.output[0]] = bounds_of(node, floats.constants)
    return found


def bounds_of(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> tuple[float | None, float | None]:
    """The lower and the upper bound of a Relu or Clip; None for a bound that is missing or not stored."""
    if node.op_type == "Relu":
        return 0.0, None
    low, high = (float(stored[name]) if name in stored else None for name in ([*node.input[1:], "", ""])[:2])
    return low, high


def float_name(codes: str) -> str:
    """The name that a quantized constant had in the float graph."""
    return codes.removesuffix(TENSOR_NAME_QUANT_SUFFIX)


def channel_axis(dequantize: onnx.NodeProto) -> int:
    """The axis along which a constant has scales of its own."""
    return next((item.i for item in dequantize.attribute if item.name == "axis"), 1)


def along(scale: NDArray[np.float32], ndim: int, axis: int) -> NDArray[np.float32]:
    """A scale per tensor or channel -> a shape that broadcasts against a tensor of `ndim` axes."""
    shape = [1] * ndim
    if scale.size > 1:
        shape[axis] = -1
    return scale.reshape(shape)
