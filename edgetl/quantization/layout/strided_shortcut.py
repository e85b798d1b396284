"""Shortcuts that take every other place and add channels of zeros (He et al. 2016, section 4.2, type A) as one Conv on codes.

onnxruntime slices rows, then columns, then pads: three copies with channels in an order that suits none of them. A Conv of 1x1
kernels with strides, whose weights are a one for each channel, gives the same codes: its scales cancel, and one product is no
sum to be rounded. Measured on ResNet-20 (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass
from edgetl.quantization.layout.padded_codes import same_scale

MOST_WEIGHTS = 4096  # of one such Conv: more are bytes that nobody asked for
END = 2**31 - 1  # where a Slice takes all that is left


def with_strided_convs(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph whose shortcuts, Slices behind each other and a Pad on codes, are Convs: the same codes."""
    stored = index.constants
    replaced: dict[str, list[onnx.NodeProto]] = {}  # by what a Pad gives
    values: dict[str, NDArray[Any]] = {}
    for pad in index.nodes:
        quantize = index.producer(pad.input[0], "QuantizeLinear") if pad.op_type == "Pad" else None
        more = stored.get(pad.input[1]) if quantize is not None else None
        if quantize is None or more is None or len(pad.input) != 3 or len(more) != 8 or more[[0, 2, 3, 4, 6, 7]].any() or more.min() < 0:
            continue
        codes, strides = _sliced(pad.input[0], index)
        if max(strides) == 1 or not np.array_equal(stored[pad.input[2]], stored[quantize.input[2]]):
            continue
        channels = [*index.shapes.get(codes, []), 0, 0][1]
        weight = np.pad(np.eye(channels, dtype=np.int8), ((more[1], more[5]), (0, 0)))[:, :, None, None]
        if not 0 < weight.size <= MOST_WEIGHTS:
            continue
        name = pad.output[0]
        values |= {f"{name}_ones": weight, f"{name}_one": np.array(1, np.float32)}
        scale = quantize.input[1:3]
        replaced[name] = [
            helper.make_node("DequantizeLinear", [codes, *scale], [f"{name}_read"]),
            helper.make_node("DequantizeLinear", [f"{name}_ones", f"{name}_one"], [f"{name}_weight"]),
            helper.make_node("Conv", [f"{name}_read", f"{name}_weight"], [f"{name}_taken"], name=pad.name, strides=strides),
            helper.make_node("QuantizeLinear", [f"{name}_taken", *scale], [name]),
        ]
    if not replaced:
        return index.model
    nodes = [part for node in index.nodes for part in replaced.get(node.output[0], [node])]
    return without_unread(with_nodes(index.model, nodes, values))


def _sliced(codes: str, index: GraphIndex) -> tuple[str, list[int]]:
    """The codes of which `codes` are every so manyth row and column, and how manyth; `codes` and ones where nothing is sliced."""
    strides = [1, 1]
    while True:
        quantize = index.producer(codes, "QuantizeLinear")
        cut = index.producer(quantize.input[0], "Slice") if quantize is not None else None
        before = index.producer(cut.input[0], "DequantizeLinear") if cut is not None else None
        if quantize is None or cut is None or before is None:
            return codes, strides
        taken = _every(cut, index.constants)
        once = index.times_read[codes] == index.times_read[cut.output[0]] == 1
        if taken is None or not once or not same_scale(before, quantize, index.constants):
            return codes, strides
        strides = [old * new for old, new in zip(strides, taken, strict=True)]
        codes = before.input[0]


def _every(cut: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> list[int] | None:
    """Which rows and columns of [n, channels, rows, columns] a Slice takes; None where it does anything else."""
    starts, ends, axes, steps = (stored.get(name) for name in ([*cut.input[1:], "", "", "", ""])[:4])
    if starts is None or ends is None or axes is None or steps is None or starts.any() or (ends < END).any() or (steps < 1).any():
        return None
    found = dict(zip(axes.tolist(), steps.tolist(), strict=True))
    return [found.get(2, 1), found.get(3, 1)] if set(found) <= {2, 3} else None


STRIDED_SHORTCUT = Pass(
    name="strided shortcut",
    rewrite=with_strided_convs,
    keeps="same bits",
    needs=frozenset({"Pad", "Slice"}),
    targets=frozenset({"portable", "x86", "x86-avx2"}),  # no faster on arm64 and web, as far as was measured
)
