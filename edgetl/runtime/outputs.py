"""The outputs of a graph: the one with the class scores, its last operator, and a check for NaN and infinity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.errors import InputError, listing
from edgetl.runtime.foreign.graph import drop_unused, makers
from edgetl.runtime.loading import load_proto, show
from edgetl.tasks.meaning import Activation

LABELS_KEY, ACTIVATION = "edgetl.labels", "edgetl.outputs"  # keys of metadata: class names, and what ends the graph
SAME_ORDER = frozenset({"Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear"})
ACTIVATIONS: Mapping[str, Activation] = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    **dict.fromkeys(("Gemm", "MatMul", "Conv", "GlobalAveragePool"), "linear"),
}
SHOWN_OUTPUTS = 8


class NotFinite(InputError):
    """Outputs that hold NaN or infinity.

    Attributes:
        rows: of the inputs that gave them.
    """

    def __init__(self, model: str, rows: Sequence[int], count: int, places: Sequence[str] | None = None) -> None:
        """`places` names the inputs for people; without it they are counted from 0."""
        self.model, self.rows, self.count = model, tuple(rows), count
        named = [places[row] if places else f"image {row}" for row in rows]
        super().__init__(
            f"expected finite outputs of {model}, found NaN or infinity for {len(named)} of {count} images:\n"
            f"{listing(named, SHOWN_OUTPUTS)}\nThese outputs cannot be used. Repair the model, or give the one that it was made from"
        )


def require_finite(outputs: NDArray[np.float32], model: str) -> None:
    """Pass if outputs [n, k] are finite.

    Raises:
        NotFinite: rows that are not.
    """
    wrong = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(wrong):
        raise NotFinite(model, [int(row) for row in wrong], len(outputs))


def pick_output(nodes: Sequence[Any], model: onnx.ModelProto, name: str, *, output: str | None, width: int | None) -> Any:
    """The output (a `NodeArg` of onnxruntime) that a classifier's answers come from.

    1. The one called `output`, where that is given.
    2. The only float one of shape [n, k].
    3. Of several, the only one with `width` numbers an image (without `width`: as many as the file has class names; of two
       classes, one number will do).

    Args:
        nodes: the outputs of the session.
        model: its graph and metadata.
        name: of the model, for messages.
        output: what was asked for.
        width: classes, where they are known.

    Raises:
        InputError: none of these, with the names and shapes of all outputs.
    """
    rows = [node for node in nodes if _is_row(node)]
    found = ", ".join(f"{node.name}: {node.type} {show(node.shape)}" for node in nodes)
    if output is not None:
        named = [node for node in rows if node.name == output]
        if not named:
            raise InputError(f"expected a float output {output} of shape [n, k] in {name}, found {found}. Give one of these with --output")
        return named[0]
    if not rows:
        raise InputError(f"expected {name} to have a float output of shape [n, k], found {found}. edgetl takes image classifiers only")
    classes = width or _named_classes(model)
    fitting = [node for node in rows if classes and row_width(node) == classes]
    fitting = fitting or [node for node in rows if classes == 2 and row_width(node) == 1]
    if len(rows) == 1 or len(fitting) == 1:
        return rows[0] if len(rows) == 1 else fitting[0]
    reason = f"{len(fitting)} of them have {classes} values per image" if classes else "the number of classes is not known"
    raise InputError(
        f"expected one output with class scores, found several in {name} ({found}), and {reason}. Name the output with --output NAME"
    )


def output_names(path: Path) -> tuple[str, ...]:
    """The names of all outputs of an ONNX file."""
    return tuple(value.name for value in load_proto(path).graph.output)


def class_count(model: onnx.ModelProto, output: str | None = None) -> int | None:
    """How many classes a graph tells apart, as far as its outputs say: of several, `output` counts; one number tells two apart."""
    found = [value.type.tensor_type.shape.dim for value in model.graph.output if output in (None, value.name)]
    if len(found) != 1 or len(found[0]) < 2 or not found[0][1].dim_value:
        return None
    return max(2, int(found[0][1].dim_value))


def row_width(node: Any) -> int | None:
    """The numbers an image that an output gives; None where the file does not say."""
    return node.shape[1] if len(node.shape) > 1 and isinstance(node.shape[1], int) else None


def activation_of(model: onnx.ModelProto, output: str) -> Activation | None:
    """What ends the graph at `output`: the last operator that does more than pass values on, or what the metadata says of it."""
    said = next((prop.value for prop in model.metadata_props if prop.key == ACTIVATION), None)
    if said is not None:
        return next((known for known in get_args(Activation) if known == said), None)
    made_by = makers(model.graph)
    node = made_by.get(output)
    while node is not None and node.op_type in SAME_ORDER and node.input:
        node = made_by.get(node.input[0])
    if node is not None and node.op_type == "Add" and {*node.input} & {tensor.name for tensor in model.graph.initializer}:
        return "linear"  # a bias
    return None if node is None else ACTIVATIONS.get(node.op_type)


def with_one_output(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A copy whose only output is `output`; nodes and weights that only the others need are left out."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kept = [value for value in model.graph.output if value.name == output]
    del result.graph.output[:]
    result.graph.output.extend(kept)
    drop_unused(result.graph)
    return result


def _named_classes(model: onnx.ModelProto) -> int | None:
    text = next((prop.value for prop in model.metadata_props if prop.key == LABELS_KEY), "null")
    try:
        labels = json.loads(text)
    except ValueError:  # `read_info` says what is wrong with it
        return None
    return len(labels) if isinstance(labels, list) else None


def _is_row(node: Any) -> bool:
    tail_is_one = all(size == 1 or not isinstance(size, int) for size in node.shape[2:])
    return node.type == "tensor(float)" and (len(node.shape) == 2 or (len(node.shape) == 4 and tail_is_one) or len(node.shape) == 0)
