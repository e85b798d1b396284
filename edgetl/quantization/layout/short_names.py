"""Short names: in a network of 80 thousand weights, names weigh as much as a layer.

What goes: names of nodes, and long names of values. What stays: the names of inputs and outputs, and of layers in float. The log keeps
what the network itself calls what has a short name (`edgetl.quantization.graph.network_names`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import runs_on_codes
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.quantization.graph.passes import Pass

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def with_short_names(index: GraphIndex) -> onnx.ModelProto:
    """A copy that computes the same, bit for bit, in fewer bytes; graphs with subgraphs keep their names."""
    result = onnx.ModelProto()
    result.CopyFrom(index.model)
    graph = result.graph
    if has_subgraphs(graph):
        return result
    public = {value.name for value in (*graph.input, *graph.output)}
    rename(graph, _short_names(graph, public))
    int8 = runs_on_codes(GraphIndex(result))
    for position, node in enumerate(graph.node):
        if node.op_type not in WEIGHTED or int8[position]:
            node.ClearField("name")
    return result


def has_subgraphs(graph: onnx.GraphProto) -> bool:
    """Whether a node holds a graph of its own, which sees the names outside."""
    return any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute)


def _short_names(graph: onnx.GraphProto, public: set[str]) -> dict[str, str]:
    """A short name for every value but the public ones, in order of first use."""
    values = (name for node in graph.node for name in (*node.input, *node.output) if name and name not in public)
    fresh = (name for name in _words() if name not in public)
    return dict(zip(dict.fromkeys(values), fresh, strict=False))


def _words() -> Iterator[str]:
    words = [""]
    while True:
        words = [word + letter for word in words for letter in ALPHABET]
        yield from words


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values and constants other names, in place."""
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                fields[index] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


SHORT_NAMES = Pass(name="short names", rewrite=with_short_names, keeps="same bits")
