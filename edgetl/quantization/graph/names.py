"""Names that the passes and the QDQ writer give, and names of the user's that would be one of them: these give way.

From a value `x`, onnxruntime's writer makes `x_scale`, `x_zero_point`, `x_quantized`, `x_QuantizeLinear_Output` and more; edgetl's passes
have suffixes of their own, and names that begin with `edgetl_`. A file that has such a name already is legal all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import onnx

RESERVED = "edgetl_"
SUFFIXES = (
    "_scale", "_zero_point", "_quantized", "_QuantizeLinear", "_DequantizeLinear",  # of onnxruntime's writer
    "_codes", "_flat", "_last", "_of_", "_pooled", "_product", "_shape", "_turned",  # of edgetl's passes
)  # fmt: skip


def with_own_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which no name of a value or node is one that may be given later, and every node has a name of its own.

    That is what tells nodes apart. Inputs and outputs change their names too; `with_public_names` gives them back.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _rename_values(result.graph, _giving_way({name for name in _values(result.graph) if name}))
    taken = {*_values(result.graph), *(node.name for node in result.graph.node)} - {""}
    for node in result.graph.node:
        if _is_given(node.name, taken):
            node.name = fresh(f"own_{node.name}", taken)
    return named(result)


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own: the QDQ writer tells nodes apart by name."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    taken: set[str] = set()
    for index, node in enumerate(result.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
    return result


def with_public_names(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """A copy whose inputs and outputs have these names; an inner value that has one of them gives way."""
    old = [value.name for value in (*model.graph.input, *model.graph.output)]
    if old == [*inputs, *outputs]:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    public = dict(zip(old, [*inputs, *outputs], strict=True))
    taken = {*_values(result.graph), *public.values()}
    inner = {name: fresh(name, taken) for name in public.values() if name not in public}
    _rename_values(result.graph, inner | public)
    return result


def fresh(name: str, taken: Set[str]) -> str:
    """`name`, made longer until it is not `taken` and no suffix makes it from another name."""
    while name in taken or _is_given(name, taken):
        name = f"own_{name}"
    return name


def _giving_way(names: set[str]) -> dict[str, str]:
    """Names that may be given later, and what they become."""
    replaced: dict[str, str] = {}
    for name in sorted(names):
        if _is_given(name, names):
            replaced[name] = fresh(f"own_{name}", names | {*replaced.values()})
    return replaced


def _is_given(name: str, names: Set[str]) -> bool:
    """Whether edgetl or the writer may give this name, from one of `names`."""
    if name.startswith(RESERVED):
        return True
    return any(name[:at] in names for suffix in SUFFIXES for at in _places(name, suffix))


def _places(name: str, suffix: str) -> Iterator[int]:
    at = name.find(suffix)
    while at >= 0:
        yield at
        at = name.find(suffix, at + 1)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those inside its nodes."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from _graphs(inner)


def _values(graph: onnx.GraphProto) -> Iterator[str]:
    for part in _graphs(graph):
        yield from (item.name for item in (*part.input, *part.output, *part.initializer))
        for node in part.node:
            yield from node.input
            yield from node.output


def _rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values other names, in place."""
    for part in _graphs(graph) if names else ():
        for item in (*part.input, *part.output, *part.value_info, *part.initializer):
            item.name = names.get(item.name, item.name)
        for node in part.node:
            for fields in (node.input, node.output):
                for index, name in enumerate(fields):
                    fields[index] = names.get(name, name)
