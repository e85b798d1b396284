"""Layers and constants in the one form that the QDQ writer knows, of the many that ONNX allows; the same function.

onnxruntime's writer takes a Gemm's C for a bias of one number for each output and passes over alpha; it has one scale for a constant
whoever reads it; it reads bounds and fillings as scalars.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgetl.core.errors import InputError, listing
from edgetl.quantization.graph.layers import WEIGHTED, constants, with_nodes, without
from edgetl.quantization.prepare.rewrite import ranks_of

LARGEST = 1e18  # of a number whose square float32 holds
SCALARS = {"Clip": (1, 2), "Pad": (2,)}  # inputs that are one number
OTHERWISE = "beside activations"  # how a constant is read that is no weight or bias


def plain_gemms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gemm as A B + c, with alpha and beta in its constants and one c for each output; any other C in an Add of its own.

    Those stay that transpose A, or whose B is no constant. Gemm-13: Y = alpha A' B' + beta C, C broadcast to [m, n].
    """
    stored = constants(model)
    new: dict[str, NDArray[Any]] = {}
    nodes = [part for index, node in enumerate(model.graph.node) for part in _plain(node, index, stored, new)]
    return model if nodes == [*model.graph.node] else with_nodes(model, nodes, new)


def _plain(node: onnx.NodeProto, index: int, stored: Mapping[str, NDArray[Any]], new: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """What takes the place of a node; its constants go into `new`."""
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type != "Gemm" or node.input[1] not in stored or given.get("transA", 0):
        return [node]
    alpha, beta, turned = given.get("alpha", 1.0), given.get("beta", 1.0), given.get("transB", 0)
    weight, other = stored[node.input[1]], node.input[2] if len(node.input) > 2 else ""
    outputs = weight.shape[0 if turned else 1]
    if alpha == beta == 1 and (not other or (other in stored and stored[other].shape == (outputs,))):
        return [node]
    inputs = [*node.input[:2]]
    if alpha != 1:
        inputs[1] = f"{node.input[1]}_of_gemm_{index}_1"
        new[inputs[1]] = weight * np.float32(alpha)
    if not other or beta == 0:
        return [helper.make_node("Gemm", inputs, node.output, name=node.name, transB=turned)]
    scaled = f"{other}_of_gemm_{index}_2"
    if (row := _row(stored.get(other), outputs)) is not None:
        new[scaled] = row * np.float32(beta)
        return [helper.make_node("Gemm", [*inputs, scaled], node.output, name=node.name, transB=turned)]
    product = f"{node.output[0]}_product"
    made = [helper.make_node("Gemm", inputs, [product], name=node.name, transB=turned)]
    if other in stored:
        new[scaled] = stored[other] * np.float32(beta)
    elif beta == 1:
        scaled = other
    else:
        new[f"{scaled}_scale"] = np.array(beta, np.float32)
        made.append(helper.make_node("Mul", [other, f"{scaled}_scale"], [scaled]))
    return [*made, helper.make_node("Add", [product, scaled], node.output)]


def _row(values: NDArray[Any] | None, outputs: int) -> NDArray[Any] | None:
    """C as one number for each output; None where it is computed, or has several rows."""
    if values is None or (values.ndim == 2 and values.shape[0] != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(values.reshape(-1), (outputs,)))


def scalar_bounds(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bounds of Clip and what Pad fills with as scalars, where exporters wrote [1]; inputs left out at the end not named at all."""
    stored = constants(model)
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(model.graph.node):
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        while changed.input and not changed.input[-1]:
            del changed.input[-1]
        for place in SCALARS.get(node.op_type, ()):
            name = changed.input[place] if place < len(changed.input) else ""
            if name in stored and stored[name].shape == (1,):
                changed.input[place] = f"{name}_of_scalar_{index}_{place}"
                new[changed.input[place]] = stored[name].reshape(())
        nodes.append(changed)
    return model if nodes == [*model.graph.node] else with_nodes(model, nodes, new)


def full_pads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Pad with amounts for all axes: onnxruntime 1.32 turns the layout of one with axes (opset 18) without regard to them."""
    stored, ranks = constants(model), ranks_of(model)
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Pad" and len(node.input) == 4 and {*node.input[1:4:2]} <= {*stored} and node.input[0] in ranks:
            amounts, rank = stored[node.input[1]].reshape(2, -1), ranks[node.input[0]]
            every = np.zeros((2, rank), np.int64)
            every[:, stored[node.input[3]] % rank] = amounts
            new[f"{node.input[1]}_of_pad_{index}"] = every.reshape(-1)
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            del changed.input[3:]
            changed.input[1] = f"{node.input[1]}_of_pad_{index}"
            node = changed
        nodes.append(node)
    return with_nodes(model, nodes, new) if new else model


def own_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a constant for each way in which it is read: as weight along one axis or another, as bias, or beside activations.

    What lies along the way to an output too is the output's own: an Identity gives it.
    """
    stored = constants(model)
    ways: defaultdict[str, set[object]] = defaultdict(set)
    for node in model.graph.node:
        for place, way in _ways(node):
            ways[node.input[place]].add(way)
    several = {name for name, found in ways.items() if name in stored and len(found) > 1 and stored[name].dtype == np.float32}
    answers = [output.name for output in model.graph.output if output.name in stored]
    if not several and not answers:
        return model
    new: dict[str, NDArray[Any]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for place, way in _ways(node):
            name = node.input[place]
            if name in several or name in answers:
                changed.input[place] = f"{name}_of_way_{sorted(map(str, ways[name])).index(str(way))}"
                new[changed.input[place]] = stored[name]
        nodes.append(changed)
    for name in answers:
        new[f"{name}_of_output"] = stored[name]
        nodes.append(helper.make_node("Identity", [f"{name}_of_output"], [name], name=f"{name}_of_output"))
    return _without(with_nodes(model, nodes, new), answers)


def _without(model: onnx.ModelProto, stored: list[str]) -> onnx.ModelProto:
    """A copy without these stored tensors."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in stored]
    result = without(model, "initializer")
    result.graph.initializer.extend(kept)
    return result


def _ways(node: onnx.NodeProto) -> Iterator[tuple[int, object]]:
    """Each input's place, and how it is read: what has a scale of its own."""
    for place, name in enumerate(node.input):
        if name:
            yield place, _way(node, place)


def _way(node: onnx.NodeProto, place: int) -> object:
    if node.op_type not in WEIGHTED or place == 0:
        return OTHERWISE
    if place == 2:
        return node.op_type, "bias"
    turned = next((item.i for item in node.attribute if item.name == "transB"), 0)
    return "weight", 0 if node.op_type == "Conv" or turned else 1


def refuse_unholdable(model: onnx.ModelProto, name: str) -> None:
    """Raise InputError where a weight, bias or number of a BatchNormalization is not finite, or so large that its square is not.

    Args:
        model: a graph.
        name: the model's, for the message.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[str] = []
    for node in model.graph.node:
        for tensor in (stored[each] for each in node.input if node.op_type in {*WEIGHTED, "BatchNormalization"} and each in stored):
            values = numpy_helper.to_array(tensor)
            if not (np.abs(values) < LARGEST).all():  # NaN is not, either
                what = "NaN" if np.isnan(values).any() else f"{values.min():.3g} to {values.max():.3g}"
                found.append(f"{tensor.name} of {node.op_type} {node.name or node.output[0]}: {what}")
    if found:
        raise InputError(
            f"expected finite weights up to {LARGEST:.0e} in {name}, found others, which no int8 model can answer like:\n{listing(found)}\n"
            "Train or export the model again, and look at its loss"
        )


def unfit(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the layers of a prepared graph that have no int8 kernel: what they multiply with is computed, no matrix, or on the left.

    A product of two activations has one.
    """
    stored = constants(model)
    return tuple(node.name for node in model.graph.node if node.op_type in WEIGHTED and not _fits(node, stored))


def _fits(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
    left, right = node.input[:2]
    if node.op_type == "MatMul":
        return left not in stored and (right not in stored or stored[right].ndim == 2)
    if node.op_type == "Gemm" and any(item.i for item in node.attribute if item.name == "transA"):
        return False
    return left not in stored and all(name in stored for name in node.input[1:] if name)
