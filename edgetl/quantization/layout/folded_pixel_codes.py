"""Pixels to codes in one QuantizeLinear with a scale and zero point for each channel, in place of an affine map in front of it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgetl.quantization.candidates.pixel_codes import LEVEL_TOLERANCE, PIXELS
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.quantization.graph.passes import Pass


def with_folded_pixel_codes(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph that maps pixels to codes in one QuantizeLinear, each channel with a scale and zero point of its own; the same codes.

    The graph itself where no int8 Conv reads pixels, or where the value 0 of a channel lies midway between two levels: then rounding,
    not the map, would decide.
    """
    stored, quantize = index.constants, index.quantizers.get(PIXELS)
    if quantize is None:
        return index.model
    step = 1 / (UINT8_MAX * stored[f"{PIXELS}_factor"].astype(np.float64))
    zeros = -stored[f"{PIXELS}_mean"] / step
    if (np.abs(zeros % 1 - 0.5) < LEVEL_TOLERANCE).any() or not ((zeros > -0.5) & (zeros < UINT8_MAX + 0.5)).all():
        return index.model
    mapping = next(node for node in index.nodes if node.name == f"{PIXELS}_map")
    inputs = [mapping.input[0], f"{PIXELS}_step", f"{PIXELS}_zeros"]
    mapped = helper.make_node("QuantizeLinear", inputs, quantize.output, name=quantize.name)
    nodes = [mapped if node.output == quantize.output else node for node in index.nodes if node.name != mapping.name]
    return with_nodes(index.model, nodes, {inputs[1]: step.astype(np.float32), inputs[2]: np.rint(zeros).astype(np.uint8)})


FOLDED_PIXEL_CODES = Pass(
    name="folded pixel codes",
    rewrite=with_folded_pixel_codes,
    keeps="same codes",
    needs=frozenset({"BatchNormalization", "QuantizeLinear"}),
)
