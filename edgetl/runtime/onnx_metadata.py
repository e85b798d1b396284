"""The metadata of an ONNX file: labels, Preprocess, task, split. Checked when read, written in sorted order.

| key                 | value                                                    |
|---------------------|----------------------------------------------------------|
| `edgetl.labels`     | JSON list of class names, in the order of the outputs    |
| `edgetl.preprocess` | `Preprocess.to_json()`                                   |
| `edgetl.split`      | digest of the split the model was trained on             |
| `edgetl.seen`       | which images it has seen: `SeenImages.compact`, at most about 7 kB |
| `edgetl.task`       | `classification`                                         |
| `edgetl.outputs`    | what ends the graph: `softmax`, `log_softmax`, `sigmoid`; left out where it is none of these |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.runtime.loading import brief, load_proto, refuse_external_data
from edgetl.runtime.outputs import LABELS_KEY

PREPROCESS, SPLIT, SEEN, TASK = "edgetl.preprocess", "edgetl.split", "edgetl.seen", "edgetl.task"
TARGET, FORM, MIXED = "edgetl.target", "edgetl.form", "mixed"  # of quantized graphs: the CPU they are for; whether layers are in float
CLASSIFICATION = "classification"
TOOL_MARKS = ("onnx.infer", "onnx.quant.pre_process")  # onnxruntime's own notes; they mean nothing to a reader


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The metadata of a model.

    Attributes:
        classes: class names in the order of the outputs; None if unknown.
        preprocess: from image to input; None if unknown.
        task: its name.
        seen: the split it was trained on and the images it has seen. Files carry filters of them: `parts` is empty after reading.
        extra: other metadata, as it stands.
    """

    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    task: str = CLASSIFICATION
    seen: SeenImages | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def read_info(path: Path) -> ModelInfo:
    """The metadata of the ONNX file at `path`.

    Raises:
        InputError: no ONNX, metadata that does not hold what its key says, or labels that do not fit the outputs.
    """
    return info_of(load_proto(path), path.name)


def info_of(model: onnx.ModelProto, name: str) -> ModelInfo:
    """The metadata of a model; `name` is used in messages.

    Raises:
        InputError: as `read_info`.
    """
    props = {prop.key: prop.value for prop in model.metadata_props if prop.key not in TOOL_MARKS}
    try:
        classes = _labels(props.pop(LABELS_KEY), _output_width(model)) if LABELS_KEY in props else None
        preprocess = Preprocess.from_json(props.pop(PREPROCESS)) if PREPROCESS in props else None
        split = props.pop(SPLIT, None)
        seen = SeenImages.from_json(props.pop(SEEN)) if SEEN in props else SeenImages(split=split, parts={}) if split else None
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    task = props.pop(TASK, CLASSIFICATION)
    return ModelInfo(classes=classes, preprocess=preprocess, task=task, seen=seen, extra=dict(sorted(props.items())))


def describe(model: onnx.ModelProto, info: ModelInfo) -> onnx.ModelProto:
    """A copy whose metadata is `info` and nothing else, sorted by key."""
    props = dict(info.extra) | {TASK: info.task}
    if info.classes is not None:
        props[LABELS_KEY] = json.dumps(list(info.classes), ensure_ascii=False, separators=(",", ":"))
    if info.preprocess is not None:
        props[PREPROCESS] = info.preprocess.to_json()
    if info.seen is not None:
        props[SPLIT] = info.seen.split
        if info.seen.kept or info.seen.trained_on:
            props[SEEN] = info.seen.compact().to_json()
    described = _copy(model)
    del described.metadata_props[:]
    onnx.helper.set_model_props(described, dict(sorted(props.items())))
    return described


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without doc strings and without the metadata of nodes, graphs, weights and values.

    Exporters leave stack traces there: local paths, and in a MobileNet 200 kB of them. The model's own metadata stays.
    """
    cleaned = _copy(model)
    cleaned.ClearField("doc_string")
    _clean_graph(cleaned.graph)
    for function in cleaned.functions:
        function.ClearField("doc_string")
        del function.metadata_props[:]
        for node in function.node:
            _clean_node(node)
    return cleaned


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the file whole or not at all; the same model gives the same bytes."""
    write_whole(path, model.SerializeToString(deterministic=True))


def check_file(path: Path) -> None:
    """Check a file with onnx's full checker and strict shape inference.

    Raises:
        InputError: what the checker found.
    """
    model = load_proto(path)
    refuse_external_data(model, path)
    check_model(model, path.name)


def check_model(model: onnx.ModelProto, name: str) -> None:
    """As `check_file`, for a model in memory; `name` is used in messages.

    Raises:
        InputError: what the checker found.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, TypeError) as error:
        raise InputError(f"expected a valid ONNX graph in {name}, the ONNX checker found: {brief(error)}") from error


def _labels(text: str, width: int | None) -> tuple[str, ...]:
    try:
        labels = json.loads(text)
    except ValueError as error:
        raise InputError(f"expected {LABELS_KEY} to be a JSON list of class names, found {text[:80]!r}") from error
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise InputError(f"expected {LABELS_KEY} to be a JSON list of class names, found {text[:80]!r}")
    if width not in (None, len(labels)) and not (width == 1 and len(labels) == 2):  # one output tells two classes apart
        raise InputError(f"expected {LABELS_KEY} to name each of the {width} outputs, found {len(labels)} names")
    return tuple(labels)


def _output_width(model: onnx.ModelProto) -> int | None:
    outputs = model.graph.output
    dims = outputs[0].type.tensor_type.shape.dim if len(outputs) == 1 else []
    return (dims[1].dim_value or None) if len(dims) >= 2 else None


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _clean_graph(graph: onnx.GraphProto) -> None:
    for item in (graph, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    for node in graph.node:
        _clean_node(node)


def _clean_node(node: onnx.NodeProto) -> None:
    node.ClearField("doc_string")
    del node.metadata_props[:]
    for attribute in node.attribute:
        attribute.ClearField("doc_string")
        for graph in _subgraphs(attribute):
            _clean_graph(graph)


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs
