"""The output of a graph as a row of scores, one for each class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto

from edgetl.core.errors import InputError
from edgetl.runtime.foreign.graph import FLOATS, PASSING, attribute, described, drop_unused, forget_types, free_name, makers, rename_made
from edgetl.runtime.outputs import LABELS_KEY

DECIDING = frozenset({"ArgMax", "TopK", "ZipMap", "ArrayFeatureExtractor", "LabelEncoder"})  # scores become answers
MONOTONE = PASSING | {"Softmax", "LogSoftmax", "Sigmoid", "Normalizer"}  # between two outputs that mean the same


def give_scores(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """Let the model give float scores [n, k]; what was changed, for people.

    1. There is a float output of that shape: nothing, or only a Flatten behind [n, 1, 1, k].
    2. All outputs are answers (ArgMax, TopK, ZipMap, names of classes): the scores they were taken from.

    Raises:
        InputError: no float output, and no one value from which the outputs are decided.
    """
    graph = model.graph
    made = makers(graph)
    if not any(_may_be_scores(value, made) for value in graph.output):
        return _flattened(graph) or _cut(model, name)
    return ()


def _label(model: onnx.ModelProto) -> tuple[str, ...]:
    """Keep the names that a ZipMap gives to the classes, where the model names none itself."""
    found = next(
        (names for node in model.graph.node if node.op_type == "ZipMap" and (names := attribute(node, "classlabels_strings"))), None
    )
    if not isinstance(found, list) or any(item.key == LABELS_KEY for item in model.metadata_props):
        return ()
    names = [name.decode("utf-8", "replace") for name in found]
    model.metadata_props.add(key=LABELS_KEY, value=json.dumps(names, ensure_ascii=False, separators=(",", ":")))
    return (f"its classes, as its ZipMap names them: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}",)


def _may_be_scores(value: onnx.ValueInfoProto, made: Mapping[str, onnx.NodeProto]) -> bool:
    if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type not in FLOATS:
        return False
    if value.name in made and made[value.name].op_type in DECIDING:
        return False
    tensor = value.type.tensor_type
    return not _channels_last_scores(value) and not (tensor.HasField("shape") and len(tensor.shape.dim) < 2)


def _channels_last_scores(value: onnx.ValueInfoProto) -> bool:
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return len(sizes) == 4 and sizes[1:3] == [1, 1] and sizes[3] > 1


def _flattened(graph: onnx.GraphProto) -> tuple[str, ...]:
    """A Flatten behind scores [n, 1, 1, k], as NHWC models give them."""
    for value in graph.output:
        if not value.type.HasField("tensor_type") or not _channels_last_scores(value):
            continue
        inner = free_name(graph, f"{value.name}_nhwc")
        rename_made(graph, value.name, inner)
        graph.node.append(onnx.helper.make_node("Flatten", [inner], [value.name], name=free_name(graph, f"Flatten_{inner}"), axis=1))
        del value.type.tensor_type.shape.dim[1:3]
        return (f"its output {value.name} is [n, 1, 1, k]: flattened to [n, k]",)
    return ()


def _cut(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    graph = model.graph
    ends = ", ".join(_made_by(value, makers(graph)) for value in graph.output)
    scores = _decided_from(graph)
    if scores is None:
        raise InputError(
            f"expected {name} to have a float output of shape [n, k], found {ends}: edgetl takes classifiers. Cut the graph at its "
            f'scores: onnx.utils.extract_model({json.dumps(name)}, "cut.onnx", [its input], [the name of its scores])'
        )
    labels = _label(model)
    del graph.output[:]
    graph.output.add(name=scores).type.tensor_type.elem_type = _type_of(model, scores)
    drop_unused(graph)
    forget_types(graph)
    return (f"its outputs are answers ({ends}): cut at the scores they are taken from, {scores}", *labels)


def _decided_from(graph: onnx.GraphProto) -> str | None:
    """The value from which all outputs are decided; of several that mean the same, the first."""
    made = makers(graph)
    found = {name for value in graph.output for name in _scores_behind(value.name, made)}
    order = [name for node in graph.node for name in node.output if name in found]
    first = order[0] if order else None
    return first if first is not None and all(_follows(name, first, made) for name in order) else None


def _scores_behind(name: str, made: Mapping[str, onnx.NodeProto]) -> Iterator[str]:
    """What deciding operators read, from the value `name` backwards."""
    waiting, seen = [name], set[str]()
    while waiting:
        node = made.get(name := waiting.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in ("ArgMax", "TopK", "ZipMap"):
            yield node.input[0]
        elif node.op_type in DECIDING | PASSING | {"Gather"}:
            waiting += node.input


def _follows(name: str, first: str, made: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether `name` is `first`, or made of it by operators that leave the best class the best."""
    for _ in made:
        node = made.get(name)
        if name == first or node is None or node.op_type not in MONOTONE:
            break
        name = node.input[0]
    return name == first


def _type_of(model: onnx.ModelProto, name: str) -> int:
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return int(TensorProto.FLOAT)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    return int(kinds.get(name, TensorProto.FLOAT))


def _made_by(value: onnx.ValueInfoProto, made: Mapping[str, onnx.NodeProto]) -> str:
    return described(value) + (f" from {made[value.name].op_type}" if value.name in made else "")
