"""Pad with amounts for all axes: onnxruntime 1.32 turns the layout of one with axes (opset 18) without regard to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass


def full_pads(index: GraphIndex) -> onnx.ModelProto:
    """A graph whose Pads name no axes."""
    stored, ranks = index.constants, index.shapes
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for position, node in enumerate(index.nodes):
        if node.op_type == "Pad" and len(node.input) == 4 and {*node.input[1:4:2]} <= {*stored} and ranks.get(node.input[0]):
            amounts, rank = stored[node.input[1]].reshape(2, -1), len(ranks[node.input[0]])
            every = np.zeros((2, rank), np.int64)
            every[:, stored[node.input[3]] % rank] = amounts
            new[f"{node.input[1]}_of_pad_{position}"] = every.reshape(-1)
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            del changed.input[3:]
            changed.input[1] = f"{node.input[1]}_of_pad_{position}"
            node = changed
        nodes.append(node)
    return with_nodes(index.model, nodes, new) if new else index.model


FULL_PADS = Pass(name="full Pads", rewrite=full_pads, keeps="same bits", needs=frozenset({"Pad"}))
