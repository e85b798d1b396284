"""Layers that multiply with something computed: int8 kernels need a stored weight, on the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED


def with_computed_operands(index: GraphIndex) -> tuple[str, ...]:
    """Names of the layers of a prepared graph that have no int8 kernel: what they multiply with is computed, no matrix, or on the left.

    A product of two activations has one.
    """
    return tuple(node.name for node in index.nodes if node.op_type in WEIGHTED and not _has_stored_weight(node, index.constants))


def _has_stored_weight(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
    left, right = node.input[:2]
    if node.op_type == "MatMul":
        return left not in stored and (right not in stored or stored[right].ndim == 2)
    if node.op_type == "Gemm" and any(item.i for item in node.attribute if item.name == "transA"):
        return False
    return left not in stored and all(name in stored for name in node.input[1:] if name)
