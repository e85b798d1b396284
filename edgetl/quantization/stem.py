"""The first Conv's codes in fours: onnxruntime's int8 Conv copies what it multiplies, and rows whose length is no multiple of four slowly.

A Conv of three channels has such rows. Where it takes every other place of a large image, squares of two by two places become
channels (space to depth); elsewhere a fourth channel of zeros is added. Weights are laid out alike, the rest of them 0: the same
products and sums, the same codes. Measured on x86 with VNNI (docs/log.md): SqueezeNet's first Conv with all in front of it takes
1,134 us in place of 1,433, ResNet-20's 27 in place of 40.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.layers import constants, layers, sizes_of, with_nodes

FOUR = 4
STEM = "edgetl_stem"  # names of values in front of it begin so
LARGE = 128 * 128  # places of an image, from which on squares pay
MOST_TAPS = 25  # of a kernel with a fourth channel: more, and products with 0 cost what copies save
FEWEST_OUTPUTS = 16  # channels; with fewer, products are not what takes the time


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The first Conv of a QDQ graph, which reads codes of images alone.

    Attributes:
        conv: the operator.
        codes: name of what its DequantizeLinear reads, uint8 [n, channels, *size].
        fill: name of that one's zero point, the code of the value 0.
        weight: int8 [outputs, channels, rows, columns], by name.
        size: height and width of the images.
        pads: top, left, bottom, right; what the Conv adds to them.
        strides: of rows and columns.
    """

    conv: onnx.NodeProto
    codes: str
    fill: str
    name: str
    weight: NDArray[np.int8]
    size: tuple[int, int]
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width with the padding."""
        top, left, bottom, right = self.pads
        return self.size[0] + top + bottom, self.size[1] + left + right


def with_stem_in_fours(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph whose first Conv reads rows of fours, where that is faster: the same answers. The graph itself elsewhere."""
    stem = _stem(model)
    if stem is None or stem.weight.shape[0] < FEWEST_OUTPUTS:
        return model
    if stem.strides == (2, 2) and np.prod(stem.size) >= LARGE:
        return _with_squares(model, stem)
    if np.prod(stem.weight.shape[2:]) <= MOST_TAPS:
        return _with_four_channels(model, stem)
    return model


def _with_squares(model: onnx.ModelProto, stem: Stem) -> onnx.ModelProto:
    """Squares of two by two places as channels, in the order channel, row, column; two transpositions that move whole rows and pairs."""
    outputs, channels, *kernel = stem.weight.shape
    halves = [-(-taps // 2) for taps in kernel]
    weight = np.zeros((outputs, channels, *(2 * half for half in halves)), np.int8)
    weight[:, :, : kernel[0], : kernel[1]] = stem.weight
    weight = weight.reshape(outputs, channels, halves[0], 2, halves[1], 2).transpose(0, 1, 3, 5, 2, 4).reshape(outputs, -1, *halves)
    top, left, bottom, right = stem.pads
    odd = [length % 2 * (1 if taps % 2 else -1) for length, taps in zip(stem.padded, kernel, strict=True)]  # what makes them even
    rows, columns = ((length + more) // 2 for length, more in zip(stem.padded, odd, strict=True))
    steps = (
        ("Reshape", [0, channels, rows, 2, 2 * columns]),
        ("Transpose", [0, 1, 3, 2, 4]),
        ("Reshape", [0, 2 * channels, rows * columns, 2]),
        ("Transpose", [0, 2, 1, 3]),
        ("Reshape", [0, rows, columns, FOUR * channels]),
        ("Transpose", [0, 3, 1, 2]),
    )
    nodes, values = _padding(stem, (0, 0, top, left, 0, 0, bottom + odd[0], right + odd[1]))
    name = nodes[-1].output[0] if nodes else stem.codes
    for index, (kind, numbers) in enumerate(steps):
        behind = f"{STEM}_{index}"
        if kind == "Reshape":
            values[f"{behind}_shape"] = np.array(numbers, np.int64)
            nodes.append(helper.make_node(kind, [name, f"{behind}_shape"], [behind]))
        else:
            nodes.append(helper.make_node(kind, [name], [behind], perm=numbers))
        name = behind
    return _rewritten(model, stem, nodes, {**values, stem.name: weight}, kernel_shape=halves, strides=[1, 1], pads=[0, 0, 0, 0])


def _with_four_channels(model: onnx.ModelProto, stem: Stem) -> onnx.ModelProto:
    """Channels of the code of 0, with weights of 0, until there are four."""
    missing = FOUR - stem.weight.shape[1]
    weight = np.pad(stem.weight, ((0, 0), (0, missing), (0, 0), (0, 0)))
    nodes, values = _padding(stem, (0, 0, 0, 0, 0, missing, 0, 0))
    return _rewritten(model, stem, nodes, {**values, stem.name: weight})


def _padding(stem: Stem, amounts: tuple[int, ...]) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]:
    """The codes with so many more in front of and behind each axis, cut where it is less than none; no node where it is none."""
    if not any(amounts):
        return [], {}
    name = f"{STEM}_amounts"
    return [helper.make_node("Pad", [stem.codes, name, stem.fill], [f"{STEM}_padded"])], {name: np.array(amounts, np.int64)}


def _rewritten(
    model: onnx.ModelProto, stem: Stem, before: list[onnx.NodeProto], values: Mapping[str, NDArray[Any]], **attributes: list[int]
) -> onnx.ModelProto:
    """The graph with nodes between the codes and what dequantizes them, other stored tensors, and other attributes of the Conv."""
    conv = onnx.NodeProto()
    conv.CopyFrom(stem.conv)
    kept = [item for item in conv.attribute if item.name not in {"kernel_shape", *attributes}]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == stem.codes:
            nodes += before
            node = helper.make_node(node.op_type, [before[-1].output[0], *node.input[1:]], node.output, name=node.name)
        nodes.append(conv if node.output == conv.output else node)
    return with_nodes(model, nodes, values)


def _stem(model: onnx.ModelProto) -> Stem | None:
    """The Conv of fewer than four channels whose codes nothing else reads."""
    stored = constants(model)
    read = Counter([name for node in model.graph.node for name in node.input] + [output.name for output in model.graph.output])
    for layer in layers(model):
        weight = stored[layer.weight.input[0]]
        if layer.node.op_type != "Conv" or layer.source is None or weight.ndim != 4 or weight.shape[1] >= FOUR:
            continue
        attributes = {item.name: helper.get_attribute_value(item) for item in layer.node.attribute}
        plain = attributes.get("group", 1) == 1 and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        own = all(
            read[name] == 1 for name in (layer.source.input[0], layer.source.output[0], layer.weight.input[0], layer.weight.output[0])
        )
        zeros = stored.get(([*layer.source.input, "", ""])[2])
        size = sizes_of(model).get(layer.source.output[0], [])[2:]
        dense = set(attributes.get("dilations", [1])) == {1}
        if not plain or not own or not dense or zeros is None or zeros.size != 1 or len(size) != 2 or not all(size):
            return None
        return Stem(
            conv=layer.node,
            codes=layer.source.input[0],
            fill=layer.source.input[2],
            name=layer.weight.input[0],
            weight=weight,
            size=(size[0], size[1]),
            pads=tuple(attributes.get("pads", (0, 0, 0, 0))),
            strides=tuple(attributes.get("strides", (1, 1))),
        )
    return None
