"""Padding of codes: onnxruntime pads between DequantizeLinear and QuantizeLinear in float, three steps where one copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.quantization.graph.passes import Pass


def with_padded_codes(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph in which Pad copies uint8 codes where it has one scale and zero point before and behind: the same codes.

    Only Pad of mode constant, opset 11 and later. Measured on ResNet-20, whose shortcuts pad channels: docs/log.md.
    """
    padded: dict[str, onnx.NodeProto] = {}  # by what was padded in float
    gone: set[str] = set()
    fills: dict[str, NDArray[np.uint8]] = {}
    for node in (node for node in index.nodes if node.op_type == "Pad"):
        before, behind = index.producer(node.input[0], "DequantizeLinear"), index.quantizers.get(node.output[0])
        if before is None or behind is None:
            continue
        fill = _fill(node, behind, index)
        if fill is None or index.times_read[node.output[0]] != 1 or not same_scale(before, behind, index.constants):
            continue
        name = f"{behind.output[0]}_fill"
        fills[name] = fill
        inputs = [before.input[0], node.input[1], name, *node.input[3:]]
        padded[node.output[0]] = helper.make_node("Pad", inputs, behind.output, name=node.name)
        gone.add(behind.output[0])
    nodes = [padded.get(node.output[0], node) for node in index.nodes if node.output[0] not in gone]
    return without_unread(with_nodes(index.model, nodes, fills))


def same_scale(dequantize: onnx.NodeProto, quantize: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
    """Whether scale and zero point are."""
    both = zip(dequantize.input[1:], quantize.input[1:], strict=True)
    return all(a in stored and b in stored and np.array_equal(stored[a], stored[b]) for a, b in both)


def _fill(pad: onnx.NodeProto, quantize: onnx.NodeProto, index: GraphIndex) -> NDArray[np.uint8] | None:
    """The code that it pads with; None where that is not known, or it copies edges."""
    if len(pad.input) < 2 or any(item.name == "mode" and item.s != b"constant" for item in pad.attribute):
        return None
    stored = index.constants
    scale, zero = (stored.get(name) for name in quantize.input[1:3])
    if scale is None or zero is None or scale.size != 1 or zero.dtype != np.uint8:
        return None
    value = np.zeros((), np.float32)
    if name := (*pad.input, "", "")[2]:
        made = index.producer(name, "DequantizeLinear")
        if name in stored:
            value = stored[name]
        elif made is not None and all(part in stored for part in made.input):
            codes, step, offset = (stored[part].astype(np.float32) for part in made.input)
            value = (codes - offset) * step
        else:
            return None
    found: NDArray[np.uint8] = np.clip(np.rint(value / scale) + zero, 0, UINT8_MAX).astype(np.uint8).reshape(())
    return found


PADDED_CODES = Pass(name="padded codes", rewrite=with_padded_codes, keeps="same bits", needs=frozenset({"Pad", "QuantizeLinear"}))
