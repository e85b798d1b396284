"""An ONNX file as a protobuf: opened with distrust, whatever lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data

from edgetl.core.errors import InputError


def load_proto(path: Path) -> onnx.ModelProto:
    """The file as a protobuf; external data is not followed.

    Raises:
        InputError: no such file, or no ONNX in it.
    """
    if not path.is_file():
        raise InputError(f"expected an ONNX file at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is an Exception and no more
        raise InputError(f"expected an ONNX file at {path}, found something else: {brief(error)}") from error
    if not model.graph.node:
        raise InputError(f"expected an ONNX file at {path}, found one without any operators")
    return model


def refuse_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Raise InputError if weights lie outside the file (subgraphs and constants included)."""
    outside = [tensor.name or "a constant" for tensor in tensors_of(model.graph) if uses_external_data(tensor)]
    if outside:
        names = ", ".join(outside[:5])
        raise InputError(
            f"expected {path.name} to hold its weights itself, found {len(outside)} in external data ({names}): save it as one file "
            "(onnx.save_model(model, path, save_as_external_data=False))"
        )


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in a graph: initializers, sparse ones, constants, and those of subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from tensors_of(inner)


def show(shape: Any) -> str:
    """A shape for people: sizes, names of sizes, `?` where unknown."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def brief(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
