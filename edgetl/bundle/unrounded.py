"""The float network that an int8 graph stands for, where nobody has the one it was made from: the same graph without its rounding.

A QuantizeLinear becomes the line that it rounds, cut off at the ends of its codes (a Relu may be absorbed there), a DequantizeLinear its
inverse, and dequantized weights are stored as they are. What remains between int8 and float is the rounding of activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.core.errors import InputError
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import along, channel_axis
from edgetl.runtime.foreign.graph import graphs_in

CODE_TYPES = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.UINT16, onnx.TensorProto.INT16)
NAME = "edgetl_unrounded"


def unrounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float graph of a QDQ graph.

    Raises:
        InputError: operators on integers beside QuantizeLinear and DequantizeLinear, or scales that are computed.
    """
    stored = GraphIndex(model).constants
    values: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        match node.op_type:
            case "DequantizeLinear" if node.input[0] in stored:
                values[node.output[0]] = _dequantized(node, stored)
            case "DequantizeLinear" | "QuantizeLinear":
                nodes += _line(node, stored, values)
            case kind if "Integer" in kind or kind.startswith(("QLinear", "QGemm", "Dynamic")):
                raise InputError(f"expected an int8 model in QDQ format, found the operator {kind}. Give a model in QDQ format")
            case _:
                nodes.append(_of_floats(node, stored, values))
    result = with_nodes(model, nodes, values)
    del result.graph.value_info[:]
    return result


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether anything in a graph is quantized, in whatever form: weights alone, QDQ, or operators on integers."""
    kinds = {node.op_type for graph in graphs_in(model.graph) for node in graph.node}
    return any(kind in ("QuantizeLinear", "DequantizeLinear") or "Integer" in kind or kind.startswith("QLinear") for kind in kinds)


def _dequantized(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    codes = stored[node.input[0]]
    scale, zero = _numbers(node, stored, codes.ndim)
    return np.asarray((codes.astype(np.float32) - zero) * scale, dtype=np.float32)


def _line(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], values: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """The operators that do without rounding what `node` does."""
    name, output = f"{NAME}_{node.output[0]}", node.output[0]
    scale, zero = _numbers(node, stored, 4)
    values |= {f"{name}_scale": scale, f"{name}_zero": zero}
    if node.op_type == "DequantizeLinear":
        return [
            helper.make_node("Sub", [node.input[0], f"{name}_zero"], [name]),
            helper.make_node("Mul", [name, f"{name}_scale"], [output]),
        ]
    codes = np.iinfo(stored[node.input[2]].dtype if len(node.input) > 2 and node.input[2] else np.uint8)
    values |= {f"{name}_least": np.array(codes.min, np.float32), f"{name}_most": np.array(codes.max, np.float32)}
    return [
        helper.make_node("Div", [node.input[0], f"{name}_scale"], [f"{name}_scaled"]),
        helper.make_node("Add", [f"{name}_scaled", f"{name}_zero"], [f"{name}_moved"]),
        helper.make_node("Clip", [f"{name}_moved", f"{name}_least", f"{name}_most"], [output]),
    ]


def _numbers(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], ndim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and zero point in float32, in a shape that fits a value of `ndim` axes."""
    if any(name and name not in stored for name in node.input[1:]):
        raise InputError(
            f"expected constant scales and zero points, found computed ones for {node.output[0]}. Export it with constant ones"
        )
    scale = stored[node.input[1]].astype(np.float32)
    zero = stored[node.input[2]].astype(np.float32) if len(node.input) > 2 and node.input[2] else np.zeros_like(scale)
    axis = channel_axis(node)
    if scale.size == 1:  # fits values of any number of axes
        return scale.reshape(()), zero.reshape(())
    return along(scale, ndim, axis), along(zero, ndim, axis)


def _of_floats(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], values: dict[str, NDArray[Any]]) -> onnx.NodeProto:
    """The node itself; Pad and others that move codes read their codes as floats."""
    if node.op_type not in ("Pad", "Where", "Concat", "Max", "Min", "Clip") or not any(_is_code(stored, name) for name in node.input):
        return node
    result = onnx.NodeProto()
    result.CopyFrom(node)
    for index, name in enumerate(node.input):
        if _is_code(stored, name):
            result.input[index] = f"{NAME}_{name}"
            values[f"{NAME}_{name}"] = stored[name].astype(np.float32)
    return result


def _is_code(stored: Mapping[str, NDArray[Any]], name: str) -> bool:
    return name in stored and helper.np_dtype_to_tensor_dtype(stored[name].dtype) in CODE_TYPES
