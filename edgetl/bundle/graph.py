"""What a bundle asks of its graphs: names and shapes, the step of int8 outputs, metadata that lets each stand alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgetl.bundle.manifest import TensorSpec
from edgetl.core.errors import InputError
from edgetl.runtime.foreign.graph import makers
from edgetl.runtime.loading import load_proto, refuse_external_data
from edgetl.runtime.onnx_metadata import PREPROCESS, ModelInfo, check_file, clean, describe, info_of, save
from edgetl.runtime.outputs import LABELS_KEY
from edgetl.runtime.session import open_session
from edgetl.tasks.meaning import Meaning, in_words

IMAGE = "an image, prepared as `preprocess` says"
SAME_VALUES = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # operators that move values and change none
STEP_OPERATOR = "DequantizeLinear"


def place_graph(source: Path, target: Path, info: ModelInfo) -> None:
    """Put the graph at `source` at `target`, carrying `info`: byte for byte if it does already, else cleaned and described.

    Raises:
        InputError: no sound graph, or labels that do not fit its outputs.
    """
    model = load_proto(source)
    refuse_external_data(model, source)
    extra = {**info_of(model, source.name).extra, **info.extra}
    wanted = describe(clean(model), replace(info, extra=extra))
    if wanted == model:
        target.write_bytes(source.read_bytes())
    else:
        save(wanted, target)
    check_file(target)
    _carries(target)


def _carries(path: Path) -> None:
    model = load_proto(path)
    present = {prop.key for prop in model.metadata_props}
    missing = [key for key in (LABELS_KEY, PREPROCESS) if key not in present]
    if missing:
        raise InputError(
            f"expected the metadata of {path.name} to contain {', '.join(missing)}, found no such entry. Give --labels and --preprocess"
        )
    info_of(model, path.name)  # labels fit the outputs


def specs(path: Path, meaning: Meaning) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs of a classifier's graph, whose outputs have that meaning.

    Raises:
        InputError: not one float image in, one row of outputs for each image out.
    """
    session = open_session(path)
    shape = tuple("batch" if size is None else size for size in session.input_shape)
    inputs = TensorSpec(name=session.input_name, shape=shape, dtype="float32", meaning=IMAGE)
    outputs = TensorSpec(
        name=session.output_name,
        shape=(shape[0], session.outputs or "classes"),
        dtype="float32",
        meaning=in_words(meaning),
        kind=meaning,
    )
    return (inputs,), (outputs,)


def quantizes_activations(path: Path) -> bool:
    """Whether a graph rounds activations to codes, so that CPUs may differ by a step; one whose weights alone are quantized does not."""
    return any(node.op_type == "QuantizeLinear" for node in load_proto(path).graph.node)


def output_step(path: Path) -> float | None:
    """The distance between two neighboring outputs of an int8 graph: the scale of its last DequantizeLinear.

    None where the last values are not dequantized ones, or each class has a scale of its own.
    """
    graph = load_proto(path).graph
    made_by = makers(graph)
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in SAME_VALUES:
        node = made_by.get(node.input[0])
    if node is None or node.op_type != STEP_OPERATOR:
        return None
    scale = _constant(graph, node.input[1])
    return float(scale.reshape(-1)[0]) if scale is not None and scale.size == 1 else None


def _constant(graph: onnx.GraphProto, name: str) -> np.ndarray | None:
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    return None if tensor is None else numpy_helper.to_array(tensor)
