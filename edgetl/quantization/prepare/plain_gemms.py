"""Gemm as A B + c. onnxruntime's QDQ writer takes C for a bias of one number for each output, and passes over alpha."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.quantization.graph.editing import attributes, with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass


def plain_gemms(index: GraphIndex) -> onnx.ModelProto:
    """Gemm as A B + c, with alpha and beta in its constants and one c for each output; any other C in an Add of its own.

    Those stay that transpose A, or whose B is no constant. Gemm-13: Y = alpha A' B' + beta C, C broadcast to [m, n].
    """
    stored = index.constants
    new: dict[str, NDArray[Any]] = {}
    nodes = [part for position, node in enumerate(index.nodes) for part in _plain(node, position, stored, new)]
    return index.model if nodes == [*index.nodes] else with_nodes(index.model, nodes, new)


def _plain(node: onnx.NodeProto, position: int, stored: Mapping[str, NDArray[Any]], new: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """What takes the place of a node; its constants go into `new`."""
    given = attributes(node)
    if node.op_type != "Gemm" or node.input[1] not in stored or given.get("transA", 0):
        return [node]
    alpha, beta, turned = given.get("alpha", 1.0), given.get("beta", 1.0), given.get("transB", 0)
    weight, other = stored[node.input[1]], node.input[2] if len(node.input) > 2 else ""
    outputs = weight.shape[0 if turned else 1]
    if alpha == beta == 1 and (not other or (other in stored and stored[other].shape == (outputs,))):
        return [node]
    inputs = [*node.input[:2]]
    if alpha != 1:
        inputs[1] = f"{node.input[1]}_of_gemm_{position}_1"
        new[inputs[1]] = weight * np.float32(alpha)
    if not other or beta == 0:
        return [helper.make_node("Gemm", inputs, node.output, name=node.name, transB=turned)]
    scaled = f"{other}_of_gemm_{position}_2"
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


PLAIN_GEMMS = Pass(name="plain Gemms", rewrite=plain_gemms, keeps="same function up to float rounding", needs=frozenset({"Gemm"}))
