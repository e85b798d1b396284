"""A graph that reads pixels where it read prepared images: its normalization becomes part of it, at no cost where that is exact.

A pixel has 256 levels, so what the first operators make of one is a table of 256 numbers a channel, and two ways to compute it are
compared as a whole: exactly, and by arithmetic that IEEE 754 fixes, so that the same graph is written everywhere.

1. A first QuantizeLinear whose codes are the levels: the pixels themselves are the codes (`quantization.candidates.pixel_codes`).
2. A first Round whose whole numbers are the levels less a whole number a channel: one DequantizeLinear of scale 1 makes them
   (`quantization.candidates.exact_stem`).
3. A first rounding of other numbers: one product and one sum in front of it, where these are rounded to the same on every level.
4. Elsewhere the operations of `Preprocess.normalize`, in its order: the same float32 numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from edgetl.bundle.graph_writing import GraphBuilder
from edgetl.core.preprocess import Preprocess
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.runtime.loading import opset as opset_of

PER_CHANNEL_OPSET = 13  # from which DequantizeLinear has an axis
ROUNDING = ("QuantizeLinear", "Round")
LEVELS = np.arange(UINT8_MAX + 1, dtype=np.float32)
Table = NDArray[np.float32]  # [channels, 256]


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a graph does to its input before it sums anything.

    Attributes:
        nodes: the operators, the last one rounds; empty where none does.
        pads: top, left, bottom, right, added before anything else; all 0 where nothing is.
        table: what becomes of each level.
        fills: what becomes of the padding, by channel.
        line: what becomes of each level in front of the operator that rounds.
    """

    nodes: tuple[onnx.NodeProto, ...]
    pads: tuple[int, int, int, int]
    table: Table
    fills: NDArray[np.float32]
    line: Table | None = None

    @property
    def rounding(self) -> int:
        """Which of the nodes rounds."""
        return next(index for index, node in enumerate(self.nodes) if node.op_type in ROUNDING)


def on_pixels(model: onnx.ModelProto, preprocess: Preprocess, written: GraphBuilder) -> onnx.ModelProto:
    """The graph with `written` in front of it, which gives uint8 [n, channels, height, width]: the same answers, bit for bit.

    Args:
        model: a graph with one float image as input.
        preprocess: from pixels to that image.
        written: makes pixels, its last node in that order.
    """
    beginning, pixels = beginning_of(model, preprocess), str(written.nodes[-1].output[0])
    last = beginning.nodes[-1].output[0] if beginning.nodes else model.graph.input[0].name
    gone = beginning.nodes
    match _folded(beginning, opset_of(model)):
        case "codes":
            _codes(written, pixels, beginning, last)
        case "whole":
            zeros = (LEVELS - beginning.table)[:, 0].astype(np.uint8)
            written.node("DequantizeLinear", pixels, np.ones(len(zeros), np.float32), zeros, output=last, axis=1)
        case _ if (line := _same_line(model, beginning)) is not None:
            gone = _on_line(written, pixels, beginning, line, last, opset_of(model))
        case _:
            gone = ()
            _normalized(written, pixels, preprocess, model.graph.input[0].name)
    left_out = {id(node) for node in gone}
    kept = [node for node in model.graph.node if id(node) not in left_out]
    return with_nodes(model, [*written.nodes, *kept], written.values)


def beginning_of(model: onnx.ModelProto, preprocess: Preprocess) -> Beginning:
    """The operators in front of the first sums that act on each pixel alone, up to the first that rounds and a Clip behind it."""
    table = preprocess.normalize(LEVELS.astype(np.uint8)[None, :, None].repeat(preprocess.channels, axis=2))[:, 0]
    found = Beginning(nodes=(), pads=(0, 0, 0, 0), table=table, fills=np.zeros(len(table), np.float32))
    index, nodes, rounded = GraphIndex(model), list[onnx.NodeProto](), found
    stored, read = index.constants, index.times_read
    name = model.graph.input[0].name
    while read[name] == 1 and (node := next((node for node in model.graph.node if node.input[:1] == [name]), None)) is not None:
        if (after := _after(node, found, stored)) is None:
            break
        nodes.append(node)
        line = found.table if node.op_type in ROUNDING else rounded.line
        found, name = after, node.output[0]
        if node.op_type in ROUNDING or (node.op_type == "Clip" and rounded.nodes):
            rounded = replace(found, nodes=tuple(nodes), line=line)
            if node.op_type != "Round":
                break
    return rounded


def _after(node: onnx.NodeProto, before: Beginning, stored: Mapping[str, NDArray[Any]]) -> Beginning | None:
    """What stands behind one more operator; None where it does not act on each pixel alone, or on numbers that are not known."""
    given = [stored.get(name) for name in node.input[1:]]
    if any(value is None for value in given):
        return None
    if node.op_type == "Pad":
        return _padded(node, before, stored)
    channels = len(before.table)
    fit = [_by_channel(value, channels) for value in given if value is not None]
    if any(value is None for value in fit):
        return None
    numbers = [value for value in fit if value is not None]
    table = _applied(node, before.table, numbers)
    fills = _applied(node, before.fills[:, None], numbers)
    return None if table is None or fills is None else Beginning(nodes=(), pads=before.pads, table=table, fills=fills[:, 0])


def _applied(node: onnx.NodeProto, x: Table, numbers: Sequence[NDArray[Any]]) -> Table | None:
    """An operator's result for numbers [channels, n], in float32 as onnxruntime computes it."""
    match node.op_type, numbers:
        case "Mul", [factor]:
            return np.asarray(x * factor, dtype=np.float32)
        case "Round", []:
            return np.asarray(np.rint(x), dtype=np.float32)
        case "Clip", [low, high]:
            return np.asarray(np.clip(x, low, high), dtype=np.float32)
        case "QuantizeLinear", [scale, zero] if zero.dtype == np.uint8 and _axis(node) == 1:
            return np.asarray(np.clip(np.rint(x / scale) + zero.astype(np.float32), 0, UINT8_MAX), dtype=np.float32)
    return None


def _by_channel(value: NDArray[Any], channels: int) -> NDArray[Any] | None:
    """A constant as [channels, 1] or [1, 1]; None where it differs within a channel."""
    if value.size == 1:
        return value.reshape(1, 1)
    return value.reshape(channels, 1) if value.shape in ((channels,), (1, channels, 1, 1), (channels, 1, 1)) else None


def _padded(node: onnx.NodeProto, before: Beginning, stored: Mapping[str, NDArray[Any]]) -> Beginning | None:
    """Behind the padding of images with zeros, where nothing has happened to them yet."""
    amounts = stored[node.input[1]].ravel().tolist()
    mode = next((item.s for item in node.attribute if item.name == "mode"), b"constant")
    plain = (
        len(node.input) == 2 and mode == b"constant" and len(amounts) == 8 and min(amounts) >= 0 and amounts[:2] == amounts[4:6] == [0, 0]
    )
    if not plain or before.nodes or any(before.pads):
        return None
    return Beginning(nodes=(), pads=(*amounts[2:4], *amounts[6:8]), table=before.table, fills=before.fills)


def _axis(node: onnx.NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "axis"), 1)


def _folded(beginning: Beginning, opset: int) -> str | None:
    """`codes`: case 1 of the module's docstring; `whole`: case 2; None: neither."""
    if not beginning.nodes:
        return None
    table, fills = beginning.table, beginning.fills
    if beginning.nodes[-1].op_type == "QuantizeLinear":
        return "codes" if np.array_equal(table, np.broadcast_to(LEVELS, table.shape)) else None
    zeros = LEVELS - table
    whole = (zeros == zeros[:, :1]).all() and (zeros == np.rint(zeros)).all() and zeros.min() >= 0 and zeros.max() <= UINT8_MAX
    return "whole" if whole and not any(beginning.pads) and not fills.any() and opset >= PER_CHANNEL_OPSET else None


def _same_line(model: onnx.ModelProto, beginning: Beginning) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """A factor and an offset for each channel with which every level is rounded to what it becomes; None where there are none."""
    if beginning.line is None or any(beginning.pads):
        return None
    ends = beginning.line[:, [0, -1]].astype(np.float64)
    factor, offset = ((ends[:, 1] - ends[:, 0]) / UINT8_MAX).astype(np.float32), ends[:, 0].astype(np.float32)
    found: Beginning | None = replace(beginning, table=LEVELS * factor[:, None] + offset[:, None])
    stored = GraphIndex(model).constants
    for node in beginning.nodes[beginning.rounding :]:
        found = found and _after(node, found, stored)
    return (factor, offset) if found and np.array_equal(found.table, beginning.table) else None


def _on_line(
    written: GraphBuilder, pixels: str, beginning: Beginning, line: tuple[Table, Table], last: str, opset: int
) -> tuple[onnx.NodeProto, ...]:
    """The product and the sum in front of the rounding; the nodes that they replace, with a Clip that cuts nothing off."""
    factor, offset = line
    if opset >= PER_CHANNEL_OPSET:  # a cast and a product in one
        zeros = np.zeros(len(factor), np.uint8)
        product = written.node("DequantizeLinear", pixels, factor, zeros, axis=1)
    else:
        product = written.node("Mul", written.node("Cast", pixels, to=TensorProto.FLOAT), factor.reshape(1, -1, 1, 1))
    rounding = beginning.nodes[beginning.rounding]
    within = np.array_equal(np.rint(LEVELS * factor[:, None] + offset[:, None]), beginning.table)
    if rounding.op_type == "Round" and within:
        written.node("Round", written.node("Add", product, offset.reshape(1, -1, 1, 1)), output=last)
        return beginning.nodes
    written.node("Add", product, offset.reshape(1, -1, 1, 1), output=rounding.input[0])
    return beginning.nodes[: beginning.rounding]


def _codes(written: GraphBuilder, pixels: str, beginning: Beginning, last: str) -> None:
    """The pixels with the codes of the value 0 around them. Pad takes one fill for all channels, so each is padded by itself."""
    top, left, bottom, right = beginning.pads
    fills = beginning.fills.astype(np.uint8)
    if not any(beginning.pads):
        written.nodes[-1].output[0] = last
        return
    amounts = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    if len(set(fills.tolist())) == 1:
        written.node("Pad", pixels, amounts, fills[0], output=last)
        return
    places = [(np.array([index], np.int64), np.array([index + 1], np.int64)) for index in range(len(fills))]
    parts = [written.node("Slice", pixels, *place, np.array([1], np.int64)) for place in places]
    written.node(
        "Concat", *(written.node("Pad", part, amounts, fill) for part, fill in zip(parts, fills, strict=True)), output=last, axis=1
    )


def _normalized(written: GraphBuilder, pixels: str, preprocess: Preprocess, last: str) -> None:
    """Float32 numbers as `Preprocess.normalize` computes them, operation by operation."""
    shape = (1, preprocess.channels, 1, 1)
    mean, std = (np.array(numbers, np.float32).reshape(shape) for numbers in (preprocess.mean, preprocess.std))
    value = written.node("Div", written.node("Cast", pixels, to=TensorProto.FLOAT), np.array(UINT8_MAX, np.float32))
    written.node("Div", written.node("Sub", value, mean), std, output=last)
