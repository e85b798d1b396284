"""float16, bfloat16 and float64 become float32: the type that int8 kernels, the engine and the clients know.

The weights of float16 and bfloat16 are float32 numbers already, so that only sums are rounded otherwise than before.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgetl.runtime.foreign.graph import attribute, free_name, graphs_in, nodes_in, rename_made, rename_reads, values_of
from edgetl.runtime.loading import tensors_of

TYPE_NAMES: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.DOUBLE: "float64"}
HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")  # of Cast, EyeLike, SequenceEmpty, DequantizeLinear


def other_precisions(model: onnx.ModelProto) -> frozenset[int]:
    """The float types, other than float32, that the graph computes in.

    Halves wherever they appear. float64 only as weights, input or output: exporters compute sizes of Resize in it.
    """
    ends = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    stored = {tensor.data_type for tensor in tensors_of(model.graph) if tensor.data_type in HALVES or len(tensor.dims) > 1}
    asked = {kind for node in nodes_in(model.graph) if (kind := attribute(node, "to")) in HALVES}
    return frozenset((ends | stored | asked) & TYPE_NAMES.keys())


def to_float32(model: onnx.ModelProto) -> tuple[str, ...]:
    """Turn every value of another float type into float32; the names of these types, for people."""
    kinds = other_precisions(model)
    if not kinds:
        return ()
    for tensor in tensors_of(model.graph):
        if tensor.data_type in kinds:
            with np.errstate(over="ignore"):
                tensor.CopyFrom(numpy_helper.from_array(values_of(tensor).astype(np.float32), tensor.name))
    for graph in graphs_in(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            _retype(value.type, kinds)
    for item in _type_attributes(model.graph):
        item.i = TensorProto.FLOAT if item.i in kinds else item.i
    return tuple(sorted(TYPE_NAMES[kind] for kind in kinds))


def with_float32_ends(model: onnx.ModelProto) -> tuple[str, ...]:
    """Let the model take and give float32, with a Cast at each end, and compute inside as it did."""
    graph, said = model.graph, set()
    stored = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        kind = value.type.tensor_type.elem_type
        if kind in TYPE_NAMES and value.name not in stored:
            inner = free_name(graph, f"{value.name}_as_{TYPE_NAMES[kind]}")
            rename_reads(graph.node, value.name, inner)
            graph.node.insert(0, onnx.helper.make_node("Cast", [value.name], [inner], name=free_name(graph, f"Cast_{inner}"), to=kind))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            said.add(TYPE_NAMES[kind])
    for value in graph.output:
        kind = value.type.tensor_type.elem_type
        if kind in TYPE_NAMES:
            inner = free_name(graph, f"{value.name}_as_{TYPE_NAMES[kind]}")
            rename_made(graph, value.name, inner)
            name = free_name(graph, f"Cast_{inner}")
            graph.node.append(onnx.helper.make_node("Cast", [inner], [value.name], name=name, to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            said.add(TYPE_NAMES[kind])
    return tuple(sorted(said))


def _type_attributes(graph: onnx.GraphProto) -> Iterator[onnx.AttributeProto]:
    for node in nodes_in(graph):
        yield from (item for item in node.attribute if item.name in TYPE_ATTRIBUTES and item.type == onnx.AttributeProto.INT)


def _retype(kind: onnx.TypeProto, kinds: frozenset[int]) -> None:
    """float32 in place of one of `kinds`, in sequences and optional values too."""
    match kind.WhichOneof("value"):
        case "tensor_type" if kind.tensor_type.elem_type in kinds:
            kind.tensor_type.elem_type = TensorProto.FLOAT
        case "sequence_type":
            _retype(kind.sequence_type.elem_type, kinds)
        case "optional_type":
            _retype(kind.optional_type.elem_type, kinds)
