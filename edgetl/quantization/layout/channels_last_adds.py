"""Residual sums in float between int8 Convs, with channels last as these Convs have them.

onnxruntime gives its int8 Convs channels last, and turns the layout of what lies between them as far as it can; not that of a sum
whose first value comes from a float Conv: it turned every other value instead, with two more conversions each. Where graphs turn
the layout themselves, its optimizer turns it back, unless a Reshape is in the way: one that changes nothing stands in front of each
sum. The same sums, the same bits. Measured on ResNet-20 (docs/log.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.int8_kernels import on_codes
from edgetl.quantization.graph.layers import names_read, sizes_of, with_nodes, without_unread


def with_sums_channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph whose Adds in float, and Relus behind them, have channels last where codes lie on both sides: the same answers."""
    nodes, codes = model.graph.node, on_codes(model)
    if all(codes[index] for index, node in enumerate(nodes) if node.op_type == "Add"):
        return model
    sizes = sizes_of(model)
    sums = _sums(model, codes, sizes)
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
            _, channels, rows, columns = sizes[value]
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


def _sums(model: onnx.ModelProto, codes: Mapping[int, bool], sizes: Mapping[str, list[int]]) -> set[str]:
    """What Adds in float, and Relus behind them, give for each other and for codes alone, of [n, channels, rows, columns]."""
    nodes = model.graph.node
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    found: set[str] = set()
    for index, node in enumerate(nodes):
        for name in names_read([node]):
            readers[name].append(node)
        alike = {tuple(sizes.get(name, ())[1:]) for name in (*node.input, *node.output)}
        fixed = len(alike) == 1 and len(shape := alike.pop()) == 3 and all(shape)
        if fixed and ((node.op_type == "Add" and not codes[index]) or (node.op_type == "Relu" and node.input[0] in found)):
            found.update(node.output)
    answers = {output.name for output in model.graph.output}
    for node in reversed(nodes):
        behind = readers[node.output[0]]
        if node.output[0] in answers or not all(each.op_type == "QuantizeLinear" or found.intersection(each.output) for each in behind):
            found.difference_update(node.output)
    return found
