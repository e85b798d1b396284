"""First layers in float32 on whole numbers, whose sums are exact and therefore the same on every CPU.

Float32 holds every whole number up to 2^24. Where what a Conv reads, its weights and its biases are multiples of powers of two, and no
sum can leave 2^24 of their units, every order of summation, with fused multiply-adds or without, gives the exact sum (Goldberg 1991,
"What every computer scientist should know about floating-point arithmetic"). What follows it are operators of one rounding each, which
IEEE 754 fixes. So `portable` spares first layers the codes that made a third of MobileNetV3-small's noise, and keeps its promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.candidates.pixel_codes import LEVEL_TOLERANCE, Levels
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import bounds_of
from edgetl.quantization.graph.types import inferred
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.observe.statistics import observe
from edgetl.quantization.precision.boundary_layers import sums_few
from edgetl.settings import Target

TARGETS: frozenset[Target] = frozenset({"portable", "web"})
PREFIX = "edgetl_whole"  # names of nodes, values and constants begin so
SIGNIFICAND_BITS = 24  # of float32's significand
FLOAT32_MAX = float(np.finfo(np.float32).max)
ROOM_BITS = 0.01  # of a bit, for what rounding adds to the sums
FINER_BITS = 2  # bits of what is multiplied with weights beyond half of those there are: most values are far below the largest
MARGIN_FACTOR = 1.25  # beyond the largest value that a few images have; larger ones are cut off
ACTIVATIONS = frozenset({"Clip", "HardSwish", "Relu"})


@dataclass(frozen=True)
class StemBlock:
    """A Conv that sums few products, the activation that alone reads it, and the MaxPool, if one does, that alone reads that."""

    conv: onnx.NodeProto
    activation: onnx.NodeProto
    pool: onnx.NodeProto | None

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """All of it, in order."""
        return (self.conv, self.activation, *([self.pool] if self.pool else []))

    @property
    def output(self) -> str:
        """The name of what it gives."""
        return str(self.nodes[-1].output[0])


@dataclass(frozen=True)
class Units:
    """What a Conv reads, in whole numbers from -most to most: `rint(value * factor)` of each channel; float64 [channels].

    Attributes:
        factor: whole numbers to 1; a power of two, but for the image.
        offset: what a whole number is short of its value, in units.
        most: the largest.
    """

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]
    most: float


def stem_blocks(index: GraphIndex, target: Target) -> tuple[StemBlock, ...]:
    """First layers of a prepared graph that compute on whole numbers for `target`, as far as each value has one reader.

    None where a residual Add reads the last: layouts would be turned to and fro, as `ends` says.
    """
    if target not in TARGETS:
        return ()
    stored, readers, answers = index.constants, index.readers, index.outputs
    found: list[StemBlock] = []
    reached = readers.get(index.model.graph.input[0].name, [])
    while len(reached) == 1 and _sums_few(reached[0], stored, readers):
        behind = readers.get(reached[0].output[0], [])
        if (
            answers & {*reached[0].output}
            or len(behind) != 1
            or behind[0].op_type not in ACTIVATIONS
            or not {*behind[0].input[1:]} - {""} <= {*stored}
        ):
            break
        after = [] if answers & {*behind[0].output} else readers.get(behind[0].output[0], [])
        pool = after[0] if len(after) == 1 and after[0].op_type == "MaxPool" and len(after[0].output) == 1 else None
        found.append(StemBlock(reached[0], behind[0], pool))
        reached = [] if found[-1].output in answers else readers.get(found[-1].output, [])
    return () if any(node.op_type == "Add" for node in reached) else tuple(found)


def on_whole_numbers(model: onnx.ModelProto, first: Sequence[StemBlock], images: NDArray[np.float32], threads: int = 1) -> onnx.ModelProto:
    """A prepared graph whose first layers compute on whole numbers.

    Args:
        model: the graph.
        first: its `stem_blocks`.
        images: a few, float32 [n, c, h, w]; they say how large values are.
        threads: of onnxruntime.
    """
    stored = GraphIndex(model).constants
    seen = observe(model, [block.output for block in first], Arrays(images), batch_size=len(images), threads=threads)
    units = []
    for block in first:
        weight, known = stored[block.conv.input[1]], seen.get(block.conv.input[0])
        most = 2.0 ** (int((SIGNIFICAND_BITS - np.log2(np.prod(weight.shape[1:]))) / 2) + FINER_BITS)
        units.append(_of_images(images, weight.shape[1], most) if known is None else _up_to(max(-known.low, known.high), most))
    written = _Written()
    value = written.numbers(model.graph.input[0].name, units[0])
    for index, block in enumerate(first):
        value = written.block(block, stored, value, units[index], units[index + 1] if index + 1 < len(units) else None)
    replaced = {id(node) for block in first for node in block.nodes}
    rest = [node for node in model.graph.node if id(node) not in replaced]
    return inferred(with_nodes(model, [*written.nodes, *rest], written.values))


def exact_stem_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the nodes that compute on whole numbers."""
    return tuple(node.name for node in model.graph.node if node.name.startswith(PREFIX))


def _sums_few(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether it is a Conv of images that sums few products, with constants of its own."""
    own = all(name in stored and len(readers[name]) == 1 for name in node.input[1:])
    return own and sums_few(node, stored) and stored[node.input[1]].ndim == 4


def _of_images(images: NDArray[np.float32], channels: int, most: float) -> Units:
    """Levels of pixels, where images have them and none lies midway between two whole numbers; else as fine as the sums leave room for."""
    levels = Levels.of(images) if images.shape[1] == channels else None
    if levels is not None:
        zeros = levels.low / levels.step
        if (np.abs(zeros % 1 - 0.5) > LEVEL_TOLERANCE).all() and (np.abs(zeros) < most / 2).all():
            return Units(1 / levels.step, zeros - np.rint(zeros), most)
    return _up_to(float(np.abs(images).max()), most)


def _up_to(reach: float, most: float) -> Units:
    """The finest power of two with which values up to `reach`, and some room, are no larger than `most`."""
    return Units(np.exp2(np.floor(np.log2([most / max(MARGIN_FACTOR * reach, 1e-6)]))), np.zeros(1), most)


@dataclass(frozen=True)
class _Written:
    """Nodes and constants, as they are written."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def node(self, kind: str, *inputs: str | float | NDArray[np.float64]) -> str:
        """One more node, whose numbers become constants; the name of its output."""
        name = f"{PREFIX}_{len(self.nodes)}"
        given = [each if isinstance(each, str) else self._constant(f"{name}_{index}", each) for index, each in enumerate(inputs)]
        self.nodes.append(helper.make_node(kind, given, [f"{name}_{kind}"], name=f"{name}_{kind}"))
        return str(self.nodes[-1].output[0])

    def _constant(self, name: str, value: float | NDArray[np.float64]) -> str:
        self.values[name] = np.asarray(value, np.float32)
        return name

    def numbers(self, value: str, units: Units) -> str:
        """A value as whole numbers."""
        factor = units.factor.reshape(1, -1, 1, 1) if len(units.factor) > 1 else units.factor[0]
        return self.node("Clip", self.node("Round", self.node("Mul", value, factor)), -units.most, units.most)

    def block(self, block: StemBlock, stored: Mapping[str, NDArray[Any]], value: str, units: Units, then: Units | None) -> str:
        """A Conv of whole numbers and what follows it: whole numbers for the next, or the value as it was.

        Pooled values are multiplied with something behind the MaxPool. Else onnxruntime would make codes in front of it and pool
        these, with channels first, which took ShuffleNetV2 from 0.73 to 0.93 of float's latency.
        """
        factor, most = (float(then.factor[0]), then.most) if then else (1.0, FLOAT32_MAX)
        gated = block.activation.op_type == "HardSwish"
        if gated:  # x min(max(x + 3, 0), 6) / 6: a HardSigmoid may round once or twice
            left = factor / 6
            x = self._conv(block.conv, stored, value, units, 1.0)
            result = self.node("Mul", x, self.node("Clip", self.node("Add", x, 3.0), 0.0, 6.0))
        else:
            left = 0.5 if block.pool and then is None else 1.0
            result = self._bounded(block, stored, value, units, factor / left, most)
        if block.pool:
            result = self.node("MaxPool", result)
            self.nodes[-1].attribute.extend(block.pool.attribute)
        if left != 1:
            result = self.node("Mul", result, left)
        if then is None:
            self.nodes[-1].output[0] = block.output
            return block.output
        result = self.node("Round", result)
        return self.node("Clip", result, -most, most) if gated else result

    def _bounded(self, block: StemBlock, stored: Mapping[str, NDArray[Any]], value: str, units: Units, factor: float, most: float) -> str:
        """So many times the result of a Conv and its Relu or Clip, from -most to most."""
        low, high = bounds_of(block.activation, stored)
        limits = (-most if low is None else max(low * factor, -most), most if high is None else min(high * factor, most))
        x = self._conv(block.conv, stored, value, units, factor)
        return self.node("Relu", x) if limits == (0, FLOAT32_MAX) else self.node("Clip", x, *limits)

    def _conv(self, conv: onnx.NodeProto, stored: Mapping[str, NDArray[Any]], value: str, units: Units, times: float) -> str:
        """So many times its result, exactly.

        A weight is divided by the units of what it is multiplied with, and is then, as the bias, a multiple of a power of two, for each
        output the smallest with which no sum leaves 2^24 of them.
        """
        shape = (-1, 1, 1) if len(units.factor) > 1 else (1, 1, 1)
        weight = times * stored[conv.input[1]].astype(np.float64) / units.factor.reshape(shape)
        bias = (weight * units.offset.reshape(shape)).sum((1, 2, 3))
        if len(conv.input) > 2:
            bias = bias + times * stored[conv.input[2]]
        largest = np.abs(weight).sum((1, 2, 3)) * units.most + np.abs(bias)
        unit = np.exp2(np.ceil(np.log2(np.maximum(largest, 2.0**-64)) - SIGNIFICAND_BITS + ROOM_BITS))
        each = unit.reshape(-1, 1, 1, 1)
        result = self.node("Conv", value, np.rint(weight / each) * each, np.rint(bias / unit) * unit)
        self.nodes[-1].attribute.extend(conv.attribute)
        return result
