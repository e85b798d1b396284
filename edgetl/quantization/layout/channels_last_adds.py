"""Residual sums in float between int8 Convs, with channels last as these Convs have them.

onnxruntime gives its int8 Convs channels last, and turns the layout of what lies between them as far as it can; not that of a sum
whose first value comes from a float Conv: it turned every other value instead, with two more conversions each. Where graphs turn
the layout themselves, its optimizer turns it back, unless a Reshape is in the way: one that changes nothing stands in front of each
sum. The same sums, the same bits. Measured on ResNet-20 (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import runs_on_codes
from edgetl.quantization.graph.passes import Pass


def with_adds_channels_last(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph whose Adds in float, and Relus behind them, have channels last where codes lie on both sides: the same answers."""
    model, nodes, codes = index.model, index.nodes, runs_on_codes(index)
    if all(codes[position] for position, node in enumerate(nodes) if node.op_type == "Add"):
        return model
    sums = _sums(index, codes)
    read = {name for node in nodes if sums.intersection(node.output) for name in node.input} - sums
    decoded = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear" and node.output[0] in read}
    if not sums or len(read) > 2 * len(decoded) or read.intersection(value.name for value in model.graph.input):
        return model  # turning floats costs more than is won
    shapes: dict[str, NDArray[np.int64]] = {}
    written: list[onnx.NodeProto] = []
    for node in nodes:
        name = node.output[0]
        if name in sums:
            read_last, given_last = ([f"{value}_last" for value in values] for values in (node.input, node.output))
            written.append(helper.make_node(node.op_type, read_last, given_last, name=node.name))
        elif node.op_type == "QuantizeLinear" and node.input[0] in sums | read:
            written += [
                helper.make_node(node.op_type, [f"{node.input[0]}_last", *node.input[1:]], [f"{name}_last"], name=node.name),
                helper.make_node("Transpose", [f"{name}_last"], [name], perm=[0, 3, 1, 2]),
            ]
        else:
            written.append(node)
        for value in read.intersection(node.output):
            _, channels, rows, columns = index.shapes[value]
            first = node.input[0] if value in decoded else value
            shapes[f"{value}_shape"] = np.array([0, rows, columns, channels])
            behind = f"{value}_codes" if value in decoded else f"{value}_last"
            written += [
                helper.make_node("Transpose", [first], [f"{value}_turned"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{value}_turned", f"{value}_shape"], [behind]),
            ]
            if value in decoded:
                written.append(helper.make_node(node.op_type, [behind, *node.input[1:]], [f"{value}_last"]))
    return without_unread(with_nodes(model, written, shapes))


def _sums(index: GraphIndex, codes: Mapping[int, bool]) -> set[str]:
    """What Adds in float, and Relus behind them, give for each other and for codes alone, of [n, channels, rows, columns]."""
    found: set[str] = set()
    for position, node in enumerate(index.nodes):
        alike = {tuple(index.shapes.get(name, ())[1:]) for name in (*node.input, *node.output)}
        fixed = len(alike) == 1 and len(shape := alike.pop()) == 3 and all(shape)
        if fixed and ((node.op_type == "Add" and not codes[position]) or (node.op_type == "Relu" and node.input[0] in found)):
            found.update(node.output)
    for node in reversed([*index.nodes]):
        behind = index.readers[node.output[0]]
        given_on = all(each.op_type == "QuantizeLinear" or found.intersection(each.output) for each in behind)
        if node.output[0] in index.outputs or not given_on:
            found.difference_update(node.output)
    return found


CHANNELS_LAST_ADDS = Pass(
    name="channels-last Adds", rewrite=with_adds_channels_last, keeps="same bits", needs=frozenset({"Add", "QuantizeLinear"})
)
