"""Equalization: factors that the channels of activations give to the layers that read them, so that one scale suits all channels.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.1: between the layers must
be operators with f(s x) = s f(x), s > 0, for each channel. Weights have a scale for each output channel here, so what is made
equal is what activations reach, half way, as in Xiao et al. 2023, "SmoothQuant", equation 4: the rest would be paid with weights.
The float function stays the same, up to rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetl.quantization.graph.editing import attributes, with_values
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import along
from edgetl.quantization.graph.types import float_values
from edgetl.quantization.observe.statistics import MODEL_NAME, with_outputs
from edgetl.runtime.engine import start
from edgetl.runtime.model_input import input_of

EQUIVARIANT = frozenset({"AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Relu"})  # for each channel
HALF_WAY_EXPONENT = 0.5
LARGEST_FACTOR = 16.0  # that a channel is multiplied by


def equalized(model: onnx.ModelProto, tensors: Collection[str], images: NDArray[np.float32]) -> onnx.ModelProto | None:
    """A prepared graph whose smaller channels reach further than they did; None where no channel can be changed.

    Args:
        model: the graph.
        tensors: names of the activations that are quantized.
        images: that show how far channels reach, float32 [n, c, h, w].
    """
    channels = Channels.of(model)
    factors = channels.factors(reaches(model, tensors, images)).astype(np.float32)
    if not (factors != 1).any():
        return None
    stored = GraphIndex(model).constants
    values = {side.name: stored[side.name] for side in channels.sides}
    for side in channels.sides:
        factor = along(factors[side.channels], values[side.name].ndim, side.axis)
        values[side.name] = values[side.name] / factor if side.reads else values[side.name] * factor
    return with_values(model, values)


def reaches(model: onnx.ModelProto, tensors: Collection[str], images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The largest absolute value of each channel of [n, c] and [n, c, h, w] activations, float32 [c], by name."""
    ranks = float_values(model)
    names = [name for name in tensors if ranks.get(name) in (2, 4)]
    nodes: list[onnx.NodeProto] = []
    for index, name in enumerate(names):
        to = f"edgetl_reach_{index}"
        nodes.append(helper.make_node("Abs", [name], [to if ranks[name] == 2 else f"{to}_all"]))
        if ranks[name] == 4:
            nodes.append(helper.make_node("GlobalMaxPool", [f"{to}_all"], [to]))
    engine = start(with_outputs(model, nodes, [f"edgetl_reach_{index}" for index in range(len(names))], TensorProto.FLOAT), optimize=True)
    taken, found = input_of(engine, MODEL_NAME), [np.float32(0)] * len(names)
    for image in images:
        ((feed, _),) = taken.feeds(image[np.newaxis])
        found = [np.maximum(old, new.reshape(len(new), -1).max(0)) for old, new in zip(found, engine.run(None, feed), strict=True)]
    return {name: np.asarray(reach, np.float32) for name, reach in zip(names, found, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One axis of a weight or bias.

    Attributes:
        name: of the constant.
        axis: of channels.
        channels: the numbers of these channels, int64 [c].
        reads: whether they come in; otherwise they go out.
    """

    name: str
    axis: int
    channels: NDArray[np.int64]
    reads: bool


@dataclass
class Channels:
    """The channels of a graph, numbered; equivariant operators, Add and Concat tie some of them together.

    Attributes:
        of_value: the channels of a value, int64 [c], by its name.
        sides: what must change with them.
        parents: of each channel one that it is tied to; the first of those tied has itself.
        fixed: channels that something else reads.
        pooled: values of one pixel, whose channels Flatten keeps apart.
    """

    of_value: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    pooled: set[str] = field(default_factory=set)

    @staticmethod
    def of(model: onnx.ModelProto) -> Channels:
        """Read a prepared graph."""
        found, index, ranks = Channels(), GraphIndex(model), float_values(model)
        for node in index.nodes:
            own = all(name in index.constants and index.times_read[name] == 1 for name in node.input[1:])
            if not (own and found._layer(node, index.constants)) and not found._passed(node, ranks):
                found._fix(node.input)
        found._fix(output.name for output in model.graph.output)
        return found

    def factors(self, reached: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        """What each channel is multiplied by, float64 [channels]: no value's largest channel is raised."""
        room = np.full(len(self.parents), np.inf)
        roots = np.array([self._root(channel) for channel in range(len(self.parents))], np.int64)
        for name, reach in reached.items():
            least = reach.max() / LARGEST_FACTOR ** (1 / HALF_WAY_EXPONENT)  # smaller ones have the largest factor
            if name in self.of_value and least > 0:
                alive = reach > 0  # nothing is known of the others
                np.minimum.at(room, roots[self.of_value[name]], np.where(alive, reach.max() / np.maximum(reach, least), 1))
        room[np.isinf(room)] = 1
        room[[self._root(channel) for channel in self.fixed]] = 1
        factors: NDArray[np.float64] = np.minimum(room**HALF_WAY_EXPONENT, LARGEST_FACTOR)[roots]
        return factors

    def _layer(self, node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
        """Whether it is a Conv or Gemm that can take factors up; then it is noted."""
        if node.op_type not in ("Conv", "Gemm"):
            return False
        weight, given = stored[node.input[1]], attributes(node)
        groups = given.get("group", 1)
        if node.op_type == "Gemm":
            if any(given.get(name, usual) != usual for name, usual in (("transA", 0), ("alpha", 1.0), ("beta", 1.0))):
                return False
            if any(stored[name].ndim != 1 for name in node.input[2:]):
                return False
            made, read = (0, 1) if given.get("transB", 0) else (1, 0)
        elif groups == 1:
            made, read = 0, 1
        elif weight.shape[:2] == (groups, 1):
            made = read = 0
        else:
            return False
        if node.input[0] in self.of_value:
            self.sides.append(Side(name=node.input[1], axis=read, channels=self.of_value[node.input[0]], reads=True))
        channels = np.arange(len(self.parents), len(self.parents) + weight.shape[made])
        self.parents.extend(channels.tolist())
        self.of_value[node.output[0]] = channels
        self.sides += [Side(name=name, axis=made * (name == node.input[1]), channels=channels, reads=False) for name in node.input[1:]]
        return True

    def _passed(self, node: onnx.NodeProto, ranks: Mapping[str, int | None]) -> bool:
        """Whether the channels of what it makes are those of what it reads; then they are noted."""
        known = [self.of_value[name] for name in node.input if name in self.of_value]
        every = len(known) == len(node.input)
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        match node.op_type:
            case "Add" if every and len({len(channels) for channels in known}) == 1:
                for first, second in zip(*known, strict=True):
                    self.parents[self._root(second)] = self._root(first)
                passed = known[0]
            case "Concat" if every and axis == 1:
                passed = np.concatenate(known)
            case "Flatten" if known and axis == 1 and node.input[0] in self.pooled:
                passed = known[0]
            case "Mul" if len(known) == 1 and all(ranks.get(name) == 4 for name in node.input):  # the other one is a gate
                passed = known[0]
            case kind if kind in EQUIVARIANT and known and len(node.output) == 1:
                passed = known[0]
                if kind == "GlobalAveragePool" or node.input[0] in self.pooled:
                    self.pooled.add(node.output[0])
            case _:
                return False
        self.of_value[node.output[0]] = passed
        return True

    def _fix(self, names: Iterable[str]) -> None:
        for name in names:
            self.fixed.update(self.of_value.get(name, np.zeros(0, np.int64)).tolist())

    def _root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel
