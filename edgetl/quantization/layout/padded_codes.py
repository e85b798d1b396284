"""Padding of codes: onnxruntime pads between DequantizeLinear and QuantizeLinear in float, three steps where one copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.layers import CODES, constants, times_read, with_nodes, without_unread


def with_padded_codes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph in which Pad copies uint8 codes where it has one scale and zero point before and behind: the same codes.

    Only Pad of mode constant, opset 11 and later. Measured on ResNet-20, whose shortcuts pad channels: docs/log.md.
    """
    stored = constants(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    read = times_read(model.graph)
    readers = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    padded: dict[str, onnx.NodeProto] = {}  # by what was padded in float
    gone: set[str] = set()
    fills: dict[str, NDArray[np.uint8]] = {}
    for node in model.graph.node:
        before, behind = makers.get(node.input[0]) if node.input else None, readers.get(node.output[0])
        if node.op_type != "Pad" or before is None or before.op_type != "DequantizeLinear" or behind is None:
            continue
        fill = _fill(node, behind, stored, makers)
        if fill is None or read[node.output[0]] != 1 or not same_scale(before, behind, stored):
            continue
        name = f"{behind.output[0]}_fill"
        fills[name] = fill
        inputs = [before.input[0], node.input[1], name, *node.input[3:]]
        padded[node.output[0]] = helper.make_node("Pad", inputs, behind.output, name=node.name)
        gone.add(behind.output[0])
    nodes = [padded.get(node.output[0], node) for node in model.graph.node if node.output[0] not in gone]
    return without_unread(with_nodes(model, nodes, fills))


def same_scale(dequantize: onnx.NodeProto, quantize: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
    """Whether scale and zero point are."""
    both = zip(dequantize.input[1:], quantize.input[1:], strict=True)
    return all(a in stored and b in stored and np.array_equal(stored[a], stored[b]) for a, b in both)


def _fill(
    pad: onnx.NodeProto, quantize: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], makers: Mapping[str, onnx.NodeProto]
) -> NDArray[np.uint8] | None:
    """The code that it pads with; None where that is not known, or it copies edges."""
    if len(pad.input) < 2 or any(item.name == "mode" and item.s != b"constant" for item in pad.attribute):
        return None
    scale, zero = (stored.get(name) for name in quantize.input[1:3])
    if scale is None or zero is None or scale.size != 1 or zero.dtype != np.uint8:
        return None
    value = np.zeros((), np.float32)
    if name := (*pad.input, "", "")[2]:
        made = makers.get(name)
        if name in stored:
            value = stored[name]
        elif made is not None and made.op_type == "DequantizeLinear" and all(part in stored for part in made.input):
            codes, step, offset = (stored[part].astype(np.float32) for part in made.input)
            value = (codes - offset) * step
        else:
            return None
    found: NDArray[np.uint8] = np.clip(np.rint(value / scale) + zero, 0, CODES).astype(np.uint8).reshape(())
    return found
