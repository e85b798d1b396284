"""Editing ONNX graphs: copies with other nodes, other numbers, or without some fields. What was given stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgetl.runtime.foreign.graph import names_read


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node that are written down, by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def with_values(model: onnx.ModelProto, new: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy with other values of some stored tensors, by name; shapes stay."""
    result = without(model, "initializer")
    for tensor in model.graph.initializer:
        if tensor.name in new:
            tensor = numpy_helper.from_array(np.ascontiguousarray(new[tensor.name]).reshape(tuple(tensor.dims)), tensor.name)
        result.graph.initializer.append(tensor)
    return result


def with_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], new: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """A copy with other nodes and with new (or other) stored tensors, by name; those that nobody reads any more are left out."""
    given, written = new or {}, [*nodes]
    used = {name for node in written for name in names_read(node)} | {output.name for output in model.graph.output}
    result = without(model, "node", "initializer")
    result.graph.node.extend(written)
    result.graph.initializer.extend(item for item in model.graph.initializer if item.name in used - {*given})
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in given.items())
    return result


def without(model: onnx.ModelProto, *fields: str) -> onnx.ModelProto:
    """A copy whose graph lacks these fields; what is left out of a copied message would stay in memory with it."""
    result = onnx.ModelProto()
    for source, copy, left_out in ((model, result, ("graph",)), (model.graph, result.graph, fields)):
        for name, value in ((known.name, value) for known, value in source.ListFields() if known.name not in left_out):
            if hasattr(value, "extend"):
                getattr(copy, name).extend(value)
            elif hasattr(value, "CopyFrom"):
                getattr(copy, name).CopyFrom(value)
            else:
                setattr(copy, name, value)
    return result


def without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with only those nodes whose result something reads."""
    wanted = {output.name for output in model.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(names_read(node))
    return with_nodes(model, reversed(kept))
