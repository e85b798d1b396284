"""Images of whole codes, handed to the first Conv as these codes: no rounding in front of it.

A photo has 256 levels a channel. Normalization takes another mean from each channel and divides it by another deviation, and
one scale and zero point for all channels then round the levels again, half a code wrong at worst. An affine map of each channel
in front of the Conv, which takes up the inverse, leaves the function as it is, and every level has a code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX
from edgetl.quantization.graph.types import inferred
from edgetl.quantization.observe.ranges import Range

PIXELS = "edgetl_pixels"  # the value that the first Conv reads; names of nodes in front of it begin so
FEWEST_LEVELS = UINT8_MAX // 2  # of a channel: fewer say little about where the others lie
LEVEL_TOLERANCE = 0.02  # of a level


@dataclass(frozen=True)
class Levels:
    """Where the 256 levels of each channel lie: float64 [channels] each.

    Attributes:
        low: level 0.
        step: from one level to the next.
    """

    low: NDArray[np.float64]
    step: NDArray[np.float64]

    @property
    def zero(self) -> int:
        """The level nearest to the value 0 of all channels: errors of weights are multiplied by the distance to it."""
        return int(np.clip(np.rint((-self.low / self.step).mean()), 0, UINT8_MAX))

    @staticmethod
    def of(images: NDArray[np.float32]) -> Levels | None:
        """The levels of images, float32 [n, c, h, w]; None where a channel does not consist of evenly spaced ones."""
        found = [_levels(np.unique(images[:, channel]).astype(np.float64)) for channel in range(images.shape[1])]
        known = [item for item in found if item is not None]
        return Levels(*np.array(known).T) if len(known) == len(found) else None


def _levels(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Level 0 and the step of sorted distinct values; what was not seen is supposed on both sides of them."""
    span = values[-1] - values[0]
    gaps = np.diff(values)
    gaps = gaps[gaps > 1e-4 * span]  # smaller ones come from float32
    count = round(span / gaps.min()) if len(gaps) else 0
    if len(gaps) < FEWEST_LEVELS or count > UINT8_MAX:
        return None
    step = span / count
    places = (values - values[0]) / step
    if np.abs(places - np.rint(places)).max() > LEVEL_TOLERANCE:
        return None
    return values[0] - (UINT8_MAX - count) // 2 * step, step


def with_pixel_codes(model: onnx.ModelProto, images: NDArray[np.float32]) -> onnx.ModelProto:
    """A prepared graph whose first Conv reads codes of pixels; the graph itself where `images` have none, or something else reads them.

    Padding moves in front of the map: a Conv pads with the value 0, which is no level of a normalized photo, now rounded to one.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    index = GraphIndex(result)
    name, stored = result.graph.input[0].name, index.constants
    readers = index.readers[name]
    if len(readers) != 1 or not _movable(index, readers[0]) or (levels := Levels.of(images)) is None:
        return model
    conv = readers[0]
    factor = 1 / (UINT8_MAX * levels.step)
    offset = np.full_like(factor, -levels.zero / UINT8_MAX)
    weight = stored[conv.input[1]] / factor[:, None, None]
    moved = (weight * (offset - levels.low * factor)[:, None, None]).sum((1, 2, 3))
    bias = (stored[conv.input[2]] if len(conv.input) > 2 else 0) - moved
    if len(conv.input) < 3:
        conv.input.append(f"{PIXELS}_bias")
    values = {
        conv.input[1]: weight,
        conv.input[2]: bias,
        f"{PIXELS}_factor": factor,
        f"{PIXELS}_offset": offset,
        f"{PIXELS}_mean": levels.low,
        f"{PIXELS}_variance": np.ones_like(factor),
    }
    before = _padding(conv, name, values)
    padded = before[-1].output[0] if before else name
    inputs = [padded, *(f"{PIXELS}_{key}" for key in ("factor", "offset", "mean", "variance"))]
    before.append(helper.make_node("BatchNormalization", inputs, [PIXELS], name=f"{PIXELS}_map", epsilon=0.0))
    conv.input[0] = PIXELS
    whole = {key: value if value.dtype == np.int64 else value.astype(np.float32) for key, value in values.items()}
    return inferred(with_nodes(result, [*before, *result.graph.node], whole))


def pixel_ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """The range whose codes are the levels, by the name of the value; empty where the graph does not read pixels."""
    offset = GraphIndex(model).constants.get(f"{PIXELS}_offset")
    return {} if offset is None else {PIXELS: Range(float(offset[0]), float(offset[0]) + 1)}


def _movable(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether it is a Conv of images whose weight and bias are constants of its own."""
    stored = index.constants
    own = all(name in stored and len(index.readers[name]) == 1 for name in node.input[1:])
    plain = all(item.i == 1 for item in node.attribute if item.name == "group")
    padded = all(item.s == b"NOTSET" for item in node.attribute if item.name == "auto_pad")
    return node.op_type == "Conv" and own and plain and padded and stored[node.input[1]].ndim == 4


def _padding(conv: onnx.NodeProto, name: str, values: dict[str, Any]) -> list[onnx.NodeProto]:
    """The Conv's padding as a node of its own, if it has any; its amounts go into `values`."""
    pads = next((item for item in conv.attribute if item.name == "pads"), None)
    if pads is None or not any(pads.ints):
        return []
    top, left, bottom, right = pads.ints
    values[f"{PIXELS}_pads"] = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    conv.attribute.remove(pads)
    return [helper.make_node("Pad", [name, f"{PIXELS}_pads"], [f"{PIXELS}_padded"], name=f"{PIXELS}_pad")]
