"""Bounds and fillings as scalars: onnxruntime's QDQ writer reads no others."""

from __future__ import annotations

from typing import Any

import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass

SCALARS = {"Clip": (1, 2), "Pad": (2,)}  # inputs that are one number


def scalar_bounds(index: GraphIndex) -> onnx.ModelProto:
    """Bounds of Clip and what Pad fills with as scalars, where exporters wrote [1]; inputs left out at the end not named at all."""
    stored = index.constants
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for position, node in enumerate(index.nodes):
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        while changed.input and not changed.input[-1]:
            del changed.input[-1]
        for place in SCALARS.get(node.op_type, ()):
            name = changed.input[place] if place < len(changed.input) else ""
            if name in stored and stored[name].shape == (1,):
                changed.input[place] = f"{name}_of_scalar_{position}_{place}"
                new[changed.input[place]] = stored[name].reshape(())
        nodes.append(changed)
    return index.model if nodes == [*index.nodes] else with_nodes(index.model, nodes, new)


SCALAR_BOUNDS = Pass(name="scalar bounds", rewrite=scalar_bounds, keeps="same bits")
