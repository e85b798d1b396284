"""What every step of reading asks of a graph. Steps edit the model in place: the reader owns it, and weights are large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgetl.core.errors import InputError
from edgetl.runtime.loading import brief, show

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
PASSING = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})  # give the same values


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: branches of If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs_in(inner)


def nodes_in(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of all graphs inside it."""
    for each in graphs_in(graph):
        yield from each.node


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """The values a node reads, those of its subgraphs included."""
    yield from filter(None, node.input)
    for inner in subgraphs(node):
        for each in inner.node:
            yield from names_read(each)
        yield from (value.name for value in inner.output)


def constants(graph: onnx.GraphProto) -> Mapping[str, onnx.TensorProto]:
    """What is known beforehand, by name: initializers and Constant nodes, those of subgraphs included."""
    found = {tensor.name: tensor for each in graphs_in(graph) for tensor in each.initializer}
    for node in nodes_in(graph):
        if node.op_type == "Constant" and node.output and node.attribute and node.attribute[0].HasField("t"):
            found[node.output[0]] = node.attribute[0].t
    return found


def values_of(tensor: onnx.TensorProto, name: str = "") -> NDArray[Any]:
    """The numbers of a tensor, which is called `name` where it has no name of its own.

    Raises:
        InputError: they do not fill its shape.
    """
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        called = tensor.name or name or "a constant"
        raise InputError(
            f"expected {called} to have values for its shape {list(tensor.dims)}, found another number of them: {brief(error)}. "
            "Export the model again"
        ) from error


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """The value of a node's attribute, or `default`."""
    return next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def makers(graph: onnx.GraphProto) -> Mapping[str, onnx.NodeProto]:
    """The node that makes each value."""
    return {name: node for node in graph.node for name in node.output if name}


def readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """The nodes that read a value."""
    return [node for node in graph.node if name in names_read(node)]


def rename_reads(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Let every one of `nodes` read `new` in place of `old`, in its subgraphs too."""
    for node in nodes:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in subgraphs(node):
            rename_reads(inner.node, old, new)
            for value in inner.output:
                value.name = new if value.name == old else value.name


def rename_made(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give the value `old`, which some node makes, the name `new` everywhere in the graph."""
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == old:
                node.output[index] = new
    rename_reads(graph.node, old, new)


def free_name(graph: onnx.GraphProto, wanted: str) -> str:
    """`wanted`, or with underscores behind it until no value or node is called so."""
    taken = {tensor.name for each in graphs_in(graph) for tensor in (*each.initializer, *each.input, *each.output)}
    for node in nodes_in(graph):
        taken |= {node.name, *node.input, *node.output}
    while wanted in taken:
        wanted += "_"
    return wanted


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the nodes and weights that no output needs."""
    needed, made = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}, makers(graph)
    waiting = [value.name for value in graph.output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += names_read(made[name]) if name in made else ()
    for items, kept in (
        (graph.node, [node for node in graph.node if needed & set(node.output)]),
        (graph.input, [value for value in graph.input if value.name in needed]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed]),
    ):
        if len(kept) < len(items):
            copies = [type(item).FromString(item.SerializeToString()) for item in kept]
            del items[:]
            items.extend(copies)


def forget_types(graph: onnx.GraphProto) -> None:
    """Take out what the graph says about its inner values, after these have changed."""
    del graph.value_info[:]


def sizes(value: onnx.ValueInfoProto) -> list[int | str | None]:
    """The shape of a value: sizes, names of sizes, None where neither is given."""
    return [dim.dim_value or dim.dim_param or None for dim in value.type.tensor_type.shape.dim]


def described(value: onnx.ValueInfoProto) -> str:
    """Name, type and shape of a value, for people."""
    if not value.type.HasField("tensor_type"):
        return f"{value.name}: {(value.type.WhichOneof('value') or 'unknown').removesuffix('_type')}"
    tensor = value.type.tensor_type
    known = tensor.elem_type in TensorProto.DataType.values()
    kind = TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
    return f"{value.name}: {'float32' if kind == 'float' else kind}{f' {show(sizes(value))}' if tensor.HasField('shape') else ''}"
