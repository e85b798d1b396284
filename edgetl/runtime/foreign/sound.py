"""Damage is the file's fault, and said so: text that is none, and whatever onnx's checker finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from edgetl.core.errors import EdgetlError, InputError
from edgetl.runtime.foreign.graph import graphs_in
from edgetl.runtime.loading import brief


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Turn an error inside the block into one about the file, if onnx's checker finds fault with that.

    Raises:
        InputError: what the checker found.
    """
    try:
        yield
    except EdgetlError:
        raise
    except Exception as error:  # reading a graph that is none may fail in any way
        try:
            onnx.checker.check_model(str(path))
        except Exception as found:  # the checker's errors are ValidationErrors and more
            raise InputError(f"expected a valid ONNX graph in {path.name}, the ONNX checker found: {brief(found)}") from error
        raise


def refuse_unreadable_text(model: onnx.ModelProto, name: str) -> None:
    """Pass if all names are text: protobuf gives what is no UTF-8 as bytes.

    Raises:
        InputError: there are such names.
    """
    bad = next((text for text in _texts(model) if not isinstance(text, str)), None)
    if bad is not None:
        raise InputError(f"expected names in UTF-8 in {name}, found {bad!r}: the file is damaged, or its exporter is. Export it again")


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    yield from (item.domain for item in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        for graph in graphs_in(onnx.GraphProto(node=function.node)):
            yield from _texts_of(graph)
    for graph in graphs_in(model.graph):
        yield from _texts_of(graph)


def _texts_of(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        yield tensor.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from (value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output, *(item.name for item in node.attribute))
