"""Checks that refuse models which are no deterministic image classifiers, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from edgetl.core.errors import InputError
from edgetl.runtime.foreign.graph import FLOATS, PASSING, attribute, constants, nodes_in, values_of
from edgetl.runtime.loading import opset

RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"})
OPTIMIZERS = ("com.microsoft", "com.ms")  # domains of operators that onnxruntime's optimizers write
STEP_OPERATORS = ("Quantize", "Dequantize", "QLinear", "DynamicQuantize", "MatMulInteger", "ConvInteger")
SCALING = frozenset(  # operators whose weights have no use for infinity; masks and bounds have
    {"BatchNormalization", "Conv", "ConvTranspose", "Div", "Gemm", "GroupNormalization", "InstanceNormalization"}
    | {"LayerNormalization", "MatMul", "Mul", "PRelu"}
)


def refuse_changing_answers(model: onnx.ModelProto, name: str) -> None:
    """Pass if the same image gets the same answer, whatever else is in its batch.

    Raises:
        InputError: a graph exported in training mode, or one that draws random numbers; the node is named.
    """
    known = constants(model.graph)
    for node in nodes_in(model.graph):
        if node.op_type in RANDOM:
            raise InputError(
                f"expected {name} to give the same output for the same image, found the random operator {_said(node)}, "
                "as in a graph exported in training mode. Call model.eval(), or remove that operator, and export it again"
            )
        if sign := _training(node, known, opset(model)):
            raise InputError(
                f"expected {name} in inference mode, found a graph exported in training mode ({_said(node)}, {sign}): its outputs depend "
                "on the other images of a batch, or on random numbers. Call model.eval() and export it again"
            )


def _training(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto], version: int) -> str | None:
    """Why the node behaves as in training; None where it does not.

    Before opset 7 `is_test` says so, up to 13 the outputs of BatchNormalization do, later `training_mode`.
    """
    if node.op_type not in ("BatchNormalization", "Dropout") or node.domain not in ("", "ai.onnx"):
        return None
    if version < 7:
        return None if attribute(node, "is_test", 0) else "is_test=0"
    if node.op_type == "BatchNormalization":
        if attribute(node, "training_mode", 0):
            return "training_mode=1"
        return "with outputs of running statistics" if version < 14 and len([name for name in node.output if name]) > 1 else None
    if version < 12 or len(node.input) < 3 or not node.input[2]:
        return None
    mode = known.get(node.input[2])
    ratio = known.get(node.input[1]) if node.input[1] else None
    if mode is not None and not values_of(mode).any():
        return None
    if ratio is not None and not values_of(ratio).any():
        return None  # drops nothing
    return "training_mode=true" if mode is not None else f"training_mode is computed from {node.input[2]}"


def refuse_optimized(model: onnx.ModelProto, name: str) -> None:
    """Pass if the graph is made of standard operators, so that it can be quantized and moved to other machines.

    Raises:
        InputError: onnxruntime's optimizer has written the file; an operator that shows it is named.
    """
    if any(node.op_type.startswith(STEP_OPERATORS) for node in nodes_in(model.graph)):
        return  # quantized: what says so has a message of its own
    found = next((node for node in nodes_in(model.graph) if node.domain.startswith(OPTIMIZERS)), None)
    if found is not None:
        raise InputError(
            f"expected {name} as its exporter wrote it, found operators of onnxruntime's optimizer ({found.op_type} of domain "
            f"{found.domain}, node {found.name!r}): they are for one runtime, some for one CPU. Give the original, before it was optimized"
        )


def refuse_not_finite(model: onnx.ModelProto, name: str) -> None:
    """Pass if no weight is NaN, and none that is multiplied with is infinite (masks and bounds may be).

    Raises:
        InputError: the tensors that are not finite, by name.
    """
    bad = list(_not_finite(model.graph))
    if bad:
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise InputError(
            f"expected finite weights in {name}, found NaN or infinity in {shown}: the training diverged or the file is damaged. "
            "Take an earlier checkpoint, and export it again"
        )


def _not_finite(graph: onnx.GraphProto) -> Iterator[str]:
    scaling: set[str] | None = None
    for name, tensor in constants(graph).items():
        if tensor.data_type not in FLOATS:
            continue
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite there
            values = values_of(tensor, name).astype(np.float32, copy=False)
        if np.isfinite(values).all():
            continue
        nans, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        scaling = _scaling_names(graph) if scaling is None else scaling
        if nans or name in scaling:
            yield f"{name} ({', '.join(f'{count} {what}' for count, what in ((nans, 'NaN'), (infinite, 'infinite')) if count)})"


def _scaling_names(graph: onnx.GraphProto) -> set[str]:
    """Values that some operator multiplies with, also through operators that pass them on."""
    found: set[str] = set()
    for node in reversed(list(nodes_in(graph))):
        if node.op_type in SCALING or (node.op_type in PASSING and found & set(node.output)):
            found.update(node.input)
    return found


def _said(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else f"{node.op_type} that gives {', '.join(node.output)!r}"
