"""Names of the user's that passes or the QDQ writer may give later: these give way."""

from __future__ import annotations

import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.names import fresh, may_be_given, rename_values, value_names
from edgetl.quantization.graph.passes import Pass
from edgetl.quantization.prepare.node_names import with_node_names


def with_own_names(index: GraphIndex) -> onnx.ModelProto:
    """A copy in which no name of a value or node is one that may be given later, and every node has a name of its own.

    That is what tells nodes apart. Inputs and outputs change their names too; the pass `public names` gives them back.
    """
    result = onnx.ModelProto()
    result.CopyFrom(index.model)
    rename_values(result.graph, _giving_way({name for name in value_names(result.graph) if name}))
    taken = {*value_names(result.graph), *(node.name for node in result.graph.node)} - {""}
    for node in result.graph.node:
        if may_be_given(node.name, taken):
            node.name = fresh(f"own_{node.name}", taken)
    return with_node_names(result)


def _giving_way(names: set[str]) -> dict[str, str]:
    """Names that may be given later, and what they become."""
    replaced: dict[str, str] = {}
    for name in sorted(names):
        if may_be_given(name, names):
            replaced[name] = fresh(f"own_{name}", names | {*replaced.values()})
    return replaced


OWN_NAMES = Pass(name="own names", rewrite=with_own_names, keeps="same bits")
