"""How large a network is."""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from edgetl.runtime.loading import load_proto, tensors_of

WEIGHT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.INT32)


def weight_count(path: Path) -> int:
    """Numbers in the weights of a graph: tensors of two or more elements, batch norms folded as they are in the file."""
    counts = (math.prod(tensor.dims) for tensor in tensors_of(load_proto(path).graph) if tensor.data_type in WEIGHT_TYPES)
    return sum(count for count in counts if count > 1)
