"""Constants read in one way each: onnxruntime's QDQ writer has one scale for a constant, whoever reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import with_nodes, without
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.quantization.graph.passes import Pass

OTHERWISE = "beside activations"  # how a constant is read that is no weight or bias


def own_constants(index: GraphIndex) -> onnx.ModelProto:
    """A copy of a constant for each way in which it is read: as weight along one axis or another, as bias, or beside activations.

    What lies along the way to an output too is the output's own: an Identity gives it.
    """
    stored = index.constants
    ways: defaultdict[str, set[object]] = defaultdict(set)
    for node in index.nodes:
        for place, way in _ways(node):
            ways[node.input[place]].add(way)
    several = {name for name, found in ways.items() if name in stored and len(found) > 1 and stored[name].dtype == np.float32}
    answers = [output.name for output in index.model.graph.output if output.name in stored]
    if not several and not answers:
        return index.model
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in index.nodes:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for place, way in _ways(node):
            name = node.input[place]
            if name in several or name in answers:
                changed.input[place] = f"{name}_of_way_{sorted(map(str, ways[name])).index(str(way))}"
                new[changed.input[place]] = stored[name]
        nodes.append(changed)
    for name in answers:
        new[f"{name}_of_output"] = stored[name]
        nodes.append(helper.make_node("Identity", [f"{name}_of_output"], [name], name=f"{name}_of_output"))
    return _without_stored(with_nodes(index.model, nodes, new), answers)


def _without_stored(model: onnx.ModelProto, stored: list[str]) -> onnx.ModelProto:
    """A copy without these stored tensors."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in stored]
    result = without(model, "initializer")
    result.graph.initializer.extend(kept)
    return result


def _ways(node: onnx.NodeProto) -> Iterator[tuple[int, object]]:
    """Each input's place, and how it is read: what has a scale of its own."""
    for place, name in enumerate(node.input):
        if name:
            yield place, _way(node, place)


def _way(node: onnx.NodeProto, place: int) -> object:
    if node.op_type not in WEIGHTED or place == 0:
        return OTHERWISE
    if place == 2:
        return node.op_type, "bias"
    turned = next((item.i for item in node.attribute if item.name == "transB"), 0)
    return "weight", 0 if node.op_type == "Conv" or turned else 1


OWN_CONSTANTS = Pass(name="own constants", rewrite=own_constants, keeps="same bits")
