"""A first Conv in float that reads images as they are: `pixel_codes.on_pixels` taken back, since no codes are made of its input."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgetl.quantization.candidates.pixel_codes import PIXELS
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass


def without_pixel_map(index: GraphIndex) -> onnx.ModelProto:
    """A graph without the map of pixels; the graph itself where there is none, or codes are made of what it gives."""
    stored = index.constants
    if f"{PIXELS}_factor" not in stored or PIXELS in index.quantizers:
        return index.model
    result = onnx.ModelProto()
    result.CopyFrom(index.model)
    conv = next(node for node in result.graph.node if node.input[:1] == [PIXELS])
    factor, offset, mean = (stored[f"{PIXELS}_{key}"].astype(np.float64) for key in ("factor", "offset", "mean"))
    weight = stored[conv.input[1]].astype(np.float64)
    bias = stored[conv.input[2]] + (weight * (offset - mean * factor)[:, None, None]).sum((1, 2, 3))
    values = {conv.input[1]: weight * factor[:, None, None], conv.input[2]: bias}
    conv.input[0] = result.graph.input[0].name
    if (pads := stored.get(f"{PIXELS}_pads")) is not None:
        conv.attribute.append(helper.make_attribute("pads", pads.reshape(2, 4)[:, 2:].ravel().tolist()))
    nodes = [node for node in result.graph.node if not node.name.startswith(PIXELS)]
    return with_nodes(result, nodes, {name: value.astype(np.float32) for name, value in values.items()})


WITHOUT_PIXEL_MAP = Pass(
    name="without the map of pixels",
    rewrite=without_pixel_map,
    keeps="same function up to float rounding",
    needs=frozenset({"BatchNormalization"}),
)
