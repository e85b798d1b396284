"""Space to depth in front of a first Conv that takes every other place of large images: squares of two by two places become channels.

onnxruntime's int8 Conv copies what it multiplies into rows, and rows of 147 codes, 7x7 places of three channels, slowly: those
whose length is no multiple of four. Of squares it takes 4x4, 192 codes in four pieces. Weights are laid out alike, the rest of them 0:
the same products and sums, the same codes. Measured on x86 with VNNI (docs/log.md): SqueezeNet's first Conv with all in
front of it takes 1,134 us in place of 1,433. Not faster under emulated CPUs without VNNI or in WebAssembly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import attributes, with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import layers
from edgetl.quantization.graph.passes import Pass

PREFIX = "edgetl_squares"  # names of values in front of the Conv begin so
FEWEST_PLACES = 128 * 128  # of an image, from which on it pays
MOST_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The Conv that reads the codes of images.

    Attributes:
        conv: the operator.
        codes: name of what its DequantizeLinear reads, uint8 [n, channels, *size].
        fill: name of that one's zero point, the code of the value 0.
        weight: int8 [outputs, channels, rows, columns], by name.
        size: height and width of the images.
        pads: top, left, bottom, right; what the Conv adds to them.
    """

    conv: onnx.NodeProto
    codes: str
    fill: str
    name: str
    weight: NDArray[np.int8]
    size: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width with the padding."""
        top, left, bottom, right = self.pads
        return self.size[0] + top + bottom, self.size[1] + left + right


def with_space_to_depth(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph whose first Conv reads squares, where that is faster: the same answers. The graph itself elsewhere.

    Squares are in the order channel, row, column; two transpositions make them, which move whole rows and pairs.
    """
    stem = _stem(index)
    if stem is None or np.prod(stem.size) < FEWEST_PLACES:
        return index.model
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
        ("Reshape", [0, rows, columns, 4 * channels]),
        ("Transpose", [0, 3, 1, 2]),
    )
    amounts = [0, 0, top, left, 0, 0, bottom + odd[0], right + odd[1]]
    nodes, values, name = list[onnx.NodeProto](), {stem.name: weight}, stem.codes
    if any(amounts):
        name, values[f"{PREFIX}_amounts"] = f"{PREFIX}_padded", np.array(amounts)
        nodes.append(helper.make_node("Pad", [stem.codes, f"{PREFIX}_amounts", stem.fill], [name]))
    for step, (kind, numbers) in enumerate(steps):
        behind = f"{PREFIX}_{step}"
        if kind == "Reshape":
            values[f"{behind}_shape"] = np.array(numbers)
            nodes.append(helper.make_node(kind, [name, f"{behind}_shape"], [behind]))
        else:
            nodes.append(helper.make_node(kind, [name], [behind], perm=numbers))
        name = behind
    return _rewritten(index.model, stem, nodes, values, kernel_shape=halves, strides=[1, 1], pads=[0, 0, 0, 0])


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


def _stem(index: GraphIndex) -> Stem | None:
    """The Conv of few channels and strides of two whose codes nothing else reads."""
    stored, read = index.constants, index.times_read
    for layer in layers(index):
        weight = stored[layer.weight.input[0]]
        if layer.node.op_type != "Conv" or layer.source is None or weight.ndim != 4 or weight.shape[1] > MOST_CHANNELS:
            continue
        given = attributes(layer.node)
        plain = given.get("group", 1) == 1 and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        plain = plain and given.get("strides") == [2, 2] and set(given.get("dilations", [1])) == {1}
        own = all(read[name] == 1 for dequantize in (layer.source, layer.weight) for name in (dequantize.input[0], *dequantize.output))
        zeros = stored.get(([*layer.source.input, "", ""])[2])
        size = index.shapes.get(layer.source.output[0], [])[2:]
        if not plain or not own or zeros is None or zeros.size != 1 or len(size) != 2 or not all(size):
            return None
        return Stem(
            conv=layer.node,
            codes=layer.source.input[0],
            fill=layer.source.input[2],
            name=layer.weight.input[0],
            weight=weight,
            size=(size[0], size[1]),
            pads=tuple(given.get("pads", (0, 0, 0, 0))),
        )
    return None


SPACE_TO_DEPTH = Pass(
    name="space to depth",
    rewrite=with_space_to_depth,
    keeps="same bits",
    needs=frozenset({"Conv", "DequantizeLinear"}),
    targets=frozenset({"x86"}),
)
