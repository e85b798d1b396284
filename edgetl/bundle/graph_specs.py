"""What each graph of a bundle takes and gives, read from the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from edgetl.bundle.graph import specs
from edgetl.bundle.image_graph import PROBABILITIES
from edgetl.bundle.manifest import ModelSpec, TensorSpec
from edgetl.runtime.loading import load_proto
from edgetl.tasks.meaning import Meaning, in_words

DTYPES: Mapping[int, str] = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}
PIXELS = "pixels, upright and in the colors that `preprocess` says"


def model_specs(folder: Path, kind: Meaning) -> tuple[ModelSpec, ...]:
    """Every ONNX file in a bundle's folder, sorted by name; outputs of the networks have the meaning `kind`."""
    return tuple(_spec(path, kind) for path in sorted(folder.glob("*.onnx")))


def _spec(path: Path, kind: Meaning) -> ModelSpec:
    graph = load_proto(path).graph
    size = path.stat().st_size
    if graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        inputs, outputs = specs(path, kind)
        return ModelSpec(file=path.name, input=inputs[0], outputs=outputs, size_bytes=size)
    outputs = tuple(
        _tensor(value, "a confidence in [0, 1] for each class", "probabilities")
        if value.name == PROBABILITIES
        else _tensor(value, in_words(kind), kind)
        for value in graph.output
    )
    return ModelSpec(file=path.name, input=_tensor(graph.input[0], PIXELS, None), outputs=outputs, size_bytes=size)


def _tensor(value: onnx.ValueInfoProto, meaning: str, kind: Meaning | None) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(part.dim_value or part.dim_param for part in tensor.shape.dim)
    return TensorSpec(name=value.name, shape=shape, dtype=DTYPES[tensor.elem_type], meaning=meaning, kind=kind)
