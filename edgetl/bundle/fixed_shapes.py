"""Graphs for one image at a time in which every shape is a number, as accelerators and converters for phones want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.runtime.foreign.graph import free_name
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import check_file, save
from edgetl.runtime.plain_file import weights_are_no_inputs, with_batch_of_one


def fix_shapes(path: Path, image: Sequence[int]) -> None:
    """Write the graph at `path` anew for one image; arguments and errors as of `with_fixed_shapes`."""
    model = with_fixed_shapes(load_proto(path), image, path.name)
    sizes = _sizes(model)
    if left := [name for node in model.graph.node for name in node.output if name and name not in sizes]:
        say(f"export: {path.name}: {len(left)} shapes do not follow from that of the image, the first is that of {left[0]!r}")
    save(model, path)
    check_file(path)


def with_fixed_shapes(model: onnx.ModelProto, image: Sequence[int], name: str) -> onnx.ModelProto:
    """A copy for one image: the shapes of inputs, outputs and all between, and those that Reshapes ask for, are numbers.

    Args:
        model: a graph with one image input.
        image: the shape of an image, without the batch.
        name: of its file, for messages.

    Raises:
        InputError: it takes another number of images than one, or images of another shape.
    """
    result, wanted = onnx.ModelProto(), (1, *image)
    result.CopyFrom(model)
    weights_are_no_inputs(result)
    given = result.graph.input[0].type.tensor_type.shape.dim
    if len(given) != len(wanted) or any(part.dim_value not in (0, size) for part, size in zip(given, wanted, strict=True)):
        found = ", ".join(str(part.dim_value or part.dim_param) for part in given)
        raise InputError(
            f"expected {name} to take any number of images, or one, for --batch 1, found the input [{found}]. "
            "Leave out --batch, or export the network for one image"
        )
    result = with_batch_of_one(result)
    for part, size in zip(result.graph.input[0].type.tensor_type.shape.dim, wanted, strict=True):
        part.dim_value = size
    result = onnx.shape_inference.infer_shapes(result, data_prop=True)
    return without_unread(_with_plain_reshapes(result, _sizes(result)))


def _sizes(model: onnx.ModelProto) -> Mapping[str, list[int]]:
    """The shapes that are numbers, by the name of the value."""
    values = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
    shapes = {name: [part.dim_value for part in tensor.shape.dim] for name, tensor in values.items() if tensor.HasField("shape")}
    return {name: sizes for name, sizes in shapes.items() if all(sizes)}


def _with_plain_reshapes(model: onnx.ModelProto, sizes: Mapping[str, list[int]]) -> onnx.ModelProto:
    """A copy whose Reshapes have constants without 0 (as it was) and -1 (what is left), which not every converter knows."""
    nodes, constants = [], {}
    for node in model.graph.node:
        if node.op_type == "Reshape" and len(node.input) == 2 and node.output[0] in sizes:
            name = free_name(model.graph, f"{node.output[0]}_sizes")
            constants[name] = np.array(sizes[node.output[0]], np.int64)
            plain = onnx.NodeProto()
            plain.CopyFrom(node)
            plain.input[1] = name
            node = plain
        nodes.append(node)
    return with_nodes(model, nodes, constants)
