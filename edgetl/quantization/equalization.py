"""Cross-layer equalization: factors that one layer's output channels and the next one's input channels take from each other.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.1: what lies between
must be scale-equivariant, f(s x) = s f(x) for s > 0, for each channel. The float function stays the same, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgetl.quantization.layers import constants

EQUIVARIANT = frozenset({"AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Relu"})  # for each channel
ROUNDS = 20  # chains of layers settle in a few


@dataclass(frozen=True)
class Link:
    """A Conv and the Convs that read it: its weight and bias, and their weights, by name."""

    first: str
    bias: str | None
    readers: tuple[tuple[str, bool], ...]  # whether it is depthwise

    def factors(self, values: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """What each channel is divided by, float32 [channels], for equal ranges before and behind."""
        ours = np.abs(values[self.first]).reshape(len(values[self.first]), -1).max(1)
        theirs = np.max([_reach(values[name], depthwise) for name, depthwise in self.readers], axis=0)
        used = (ours > 0) & (theirs > 0)
        return np.where(used, np.sqrt(np.where(used, ours, 1) / np.where(used, theirs, 1)), 1).astype(np.float32)


def equalized(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A prepared graph with equal ranges of weights before and behind each channel; None where nothing can be equalized."""
    found = links(model)
    if not found:
        return None
    values = {name: np.array(value) for name, value in constants(model).items()}
    for _ in range(ROUNDS):
        for link in found:
            factors = link.factors(values)
            values[link.first] = values[link.first] / factors[:, None, None, None]
            if link.bias:
                values[link.bias] = values[link.bias] / factors
            for name, depthwise in link.readers:
                values[name] = values[name] * factors.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
    changed = {name for link in found for name in (link.first, link.bias, *(name for name, _ in link.readers)) if name}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return result


def links(model: onnx.ModelProto) -> tuple[Link, ...]:
    """Convs whose output is read, through equivariant operators only, by Convs only; each constant in one place only."""
    stored = constants(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)

    outputs = {output.name for output in model.graph.output}

    def movable(conv: onnx.NodeProto) -> bool:
        alone = all(name in stored and len(readers[name]) == 1 for name in conv.input[1:])
        return conv.op_type == "Conv" and alone and stored[conv.input[1]].ndim == 4

    def following(name: str) -> list[tuple[str, bool]] | None:
        """The weights that multiply `name`, and whether each is depthwise; None where something else reads it too."""
        if name in outputs:
            return None
        found: list[tuple[str, bool]] = []
        for reader in readers.get(name, []):
            if reader.op_type in EQUIVARIANT and len(reader.output) == 1:
                more = following(reader.output[0])
            elif movable(reader) and (depthwise := _depthwise(reader, stored[reader.input[1]])) is not None:
                more = [(reader.input[1], depthwise)]
            else:
                more = None
            if more is None:
                return None
            found += more
        return found or None

    return tuple(
        Link(node.input[1], node.input[2] if len(node.input) > 2 else None, tuple(read))
        for node in model.graph.node
        if movable(node) and (read := following(node.output[0])) is not None
    )


def _depthwise(conv: onnx.NodeProto, weight: NDArray[np.float32]) -> bool | None:
    """Whether a Conv has one output for each input; None where it has other groups."""
    groups = next((item.i for item in conv.attribute if item.name == "group"), 1)
    if groups == 1:
        return False
    return True if weight.shape[1] == 1 and weight.shape[0] == groups else None


def _reach(weight: NDArray[np.float32], depthwise: bool) -> NDArray[np.float32]:
    """The largest weight of each input channel."""
    axes = (1, 2, 3) if depthwise else (0, 2, 3)
    found: NDArray[np.float32] = np.abs(weight).max(axes)
    return found
