"""Types and shapes of values, as far as ONNX can infer them."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto

from edgetl.quantization.graph.editing import without

LARGE_TENSOR_NUMBERS = 2**16  # numbers, above which a tensor is not copied without need


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which types and shapes of values are written down, as far as they can be inferred."""
    light = without(model, "value_info", "initializer")
    for tensor in model.graph.initializer:
        bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        large = math.prod(tensor.dims) > LARGE_TENSOR_NUMBERS  # its numbers say nothing about shapes
        light.graph.initializer.append(bare if large else tensor)
    result: onnx.ModelProto = onnx.shape_inference.infer_shapes(light)
    del result.graph.initializer[:]
    result.graph.initializer.extend(model.graph.initializer)
    return result


def float_values(model: onnx.ModelProto) -> dict[str, int | None]:
    """Float32 inputs, outputs and intermediate values of a graph of inferred types, by name: their rank, None where unknown."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    stored = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: len(value.type.tensor_type.shape.dim) if value.type.tensor_type.HasField("shape") else None
        for value in values
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in stored
    }
