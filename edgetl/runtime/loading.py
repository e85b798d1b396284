"""An ONNX file as a protobuf: opened with distrust, whatever lies there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data

from edgetl.core.errors import InputError

OTHER_FORMATS = (  # bytes at an offset, what they are the mark of, what to do
    (4, b"ORTM", "a model in onnxruntime's ORT format", "Give the .onnx it was made from"),
    (4, b"TFL3", "a TensorFlow Lite model", "Convert the model it was made from: python -m tf2onnx.convert --inputs-as-nchw"),
    (0, b"\x89HDF", "a Keras file (HDF5)", "Convert it: python -m tf2onnx.convert --inputs-as-nchw"),
    (0, b"PK\x03\x04", "a zip archive, as torch.save and Keras write them", "Export the model: torch.onnx.export"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
)


def load_proto(path: Path) -> onnx.ModelProto:
    """The file as a protobuf; external data is not followed.

    Raises:
        InputError: no such file, or no ONNX in it.
    """
    if not path.is_file():
        raise InputError(f"expected an ONNX file at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    try:
        _refuse_other_formats(path)
        model = onnx.load(path, load_external_data=False)
    except InputError:
        raise
    except Exception as error:  # protobuf's DecodeError is an Exception and no more
        raise InputError(f"expected an ONNX file at {path}, found content that is not ONNX: {brief(error)}") from error
    if not model.graph.node:
        raise InputError(f"expected an ONNX file at {path}, found one without any operators")
    return model


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(32)
    for offset, mark, name, advice in OTHER_FORMATS:
        if head[offset : offset + len(mark)] == mark:
            raise InputError(f"expected an ONNX file at {path}, found {name}. {advice}")


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
    yield from tensors_in(graph.node)


def tensors_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in nodes and their subgraphs."""
    for node in nodes:
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
    """The first line of an error's message, without onnxruntime's own places in its sources."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"/\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])", "", line)[:300]


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=1)
