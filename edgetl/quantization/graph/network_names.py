"""What the network itself calls the steps of the graphs that are made of it: `stages.0.0 (Conv)`.

A layer is called as the module that its weight belongs to (PyTorch's way: the tensor `stages.0.0.weight` is of the module `stages.0.0`).
PyTorch's exporter by tracing renames weights; there the name of the node tells the module (`/stages/stages.0/stages.0.0/Conv`). Any other
operator is called as its node in the float model, and one without a name as its output. The operator's type follows in brackets. What
edgetl puts before a layer, or in the place of one, is called after that layer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.runtime.kernels import CONVERSIONS

WEIGHT = ".weight"  # how PyTorch ends the name of a module's weight


@dataclass(frozen=True, kw_only=True)
class NetworkNames:
    """The network's own names, by the names that graphs have for nodes, values and constants.

    Attributes:
        nodes: name of a node -> its own name.
        values: name of an output of a node, or of an input of the graph -> the own name of what gives it.
        constants: name of a weight or bias -> the own name of the layer that it is of.
    """

    nodes: Mapping[str, str]
    values: Mapping[str, str]
    constants: Mapping[str, str]

    @staticmethod
    def of(given: onnx.ModelProto, quantized: onnx.ModelProto) -> NetworkNames:
        """The names of the user's float model `given`, and of the float graph that is quantized, which was made of it."""
        first = _named(given, None)
        later = _named(quantized, _Known(names=first, index=GraphIndex(given)))
        return NetworkNames(
            nodes={**first.nodes, **later.nodes},
            values={**first.values, **later.values},
            constants={**first.constants, **later.constants},
        )

    def __call__(self, name: str) -> str:
        """The own name of what a graph calls `name`, or a name that was made from that with an ending; else `name` itself."""
        for known in (self.nodes, self.values, self.constants):
            if name in known:
                return known[name]
        endings = (at for at in range(len(name) - 1, 0, -1) if name[at] == "_")
        shorter = (known[name[:at]] for at in endings for known in (self.values, self.constants, self.nodes) if name[:at] in known)
        return next(shorter, name)

    def in_file(self, long: onnx.ModelProto, short: onnx.ModelProto) -> dict[str, str]:
        """Names of nodes and values in the file `short` -> own names; `long` is the same graph, node for node, with long names."""
        index = GraphIndex(long)
        found: dict[str, str] = {}
        for before, after in zip(long.graph.node, short.graph.node, strict=True):
            name = self._of_node(before, index)
            found.update({key: name for key in (*after.output, after.name) if key})
        return found

    def _of_node(self, node: onnx.NodeProto, index: GraphIndex) -> str:
        """Of a node of a QDQ graph: a layer by its weight, whatever was fused into it."""
        weight = index.producer(node.input[1]) if node.op_type in WEIGHTED and len(node.input) > 1 else None
        if weight is not None and (name := self(weight.input[0])) != weight.input[0]:
            return name
        if node.op_type in CONVERSIONS:
            return self(node.output[0] if node.op_type == "QuantizeLinear" else node.input[0])
        return self.nodes[node.name] if node.name in self.nodes else self(node.output[0])


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The names of a model that another graph was made of."""

    names: NetworkNames
    index: GraphIndex

    def of(self, node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> str | None:
        """The name of a node of the other graph."""
        named = [
            known[name]
            for known, name in ((self.names.nodes, node.name), *((self.names.values, name) for name in node.output))
            if name in known
        ]
        if node.op_type not in WEIGHTED:
            return named[-1] if named else self._after(node, readers)
        same = [name for name in named if f"({node.op_type})" in name]
        of_weight = [self.names.constants[name] for name in node.input[1:] if name in self.names.constants]
        return next(iter([*same, *of_weight, *named]), None) or self._after(node, readers)

    def _after(self, node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> str | None:
        """The name of a node that edgetl added: by the layer that it replaces, or the one that it comes before."""
        value = next((name for name in _downstream(node, readers) if name in self.names.values), None)
        if value is None:
            return None
        layer = next((maker for maker in _upstream(value, self.index) if maker.op_type in WEIGHTED), None)
        name = self.names.values[value] if layer is None else self.names.nodes.get(layer.name) or self.names.values[layer.output[0]]
        return name if layer is not None and layer.op_type == node.op_type else f"{node.op_type} added for {name}"


def _named(model: onnx.ModelProto, known: _Known | None) -> NetworkNames:
    nodes: dict[str, str] = {}
    values = {value.name: value.name for value in model.graph.input}
    constants: dict[str, str] = {}
    readers = GraphIndex(model).readers
    times: Counter[str] = Counter()
    for node in model.graph.node:
        name = (known.of(node, readers) if known else None) or f"{_own_name(node)} ({node.op_type})"
        times[name] += 1
        if times[name] > 1 and known is None:  # a weight that two layers share, or equal names
            name = f"{name}, use {times[name]}"
        if node.name:
            nodes.setdefault(node.name, name)
        values.update({output: name for output in node.output if output})
        if node.op_type in WEIGHTED:
            constants.update({constant: name for constant in node.input[1:] if constant not in constants | values})
    return NetworkNames(nodes=nodes, values=values, constants=constants)


def _own_name(node: onnx.NodeProto) -> str:
    weight = node.input[1] if node.op_type in WEIGHTED and len(node.input) > 1 else ""
    if weight.endswith(WEIGHT):
        return weight.removesuffix(WEIGHT)
    traced = _traced_module(node) if node.op_type in WEIGHTED else ""
    return traced or node.name or next((name for name in node.output if name), node.op_type)


def _traced_module(node: onnx.NodeProto) -> str:
    """`/features/features.1/conv/conv.0/Conv_1` -> `features.1.conv.0`; empty for a name of another form."""
    traced = re.fullmatch(rf"/(.+)/{node.op_type}(_\d+)?", node.name)
    path: list[str] = []
    for scope in traced[1].split("/") if traced else ():
        if path and scope.startswith(f"{path[-1]}."):  # within an nn.Sequential, which gives its own name in front
            path[-1] = scope
        else:
            path.append(scope)
    return ".".join(path)


def _downstream(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> Iterator[str]:
    """The values that come after a node, the nearest first."""
    waiting, seen = list(node.output), set(node.output)
    while waiting:
        yield (value := waiting.pop(0))
        new = [name for reader in readers.get(value, []) for name in reader.output if name not in seen]
        seen |= set(new)
        waiting += new


def _upstream(value: str, index: GraphIndex) -> Iterator[onnx.NodeProto]:
    """The nodes that a value is made by, the nearest first."""
    waiting, seen = [value], {value}
    while waiting:
        if (node := index.producer(waiting.pop(0))) is None:
            continue
        yield node
        new = [name for name in node.input if name not in seen]
        seen |= set(new)
        waiting += new
