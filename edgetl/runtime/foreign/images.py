"""The input of a graph as float images [n, c, h, w]."""

from __future__ import annotations

import onnx

from edgetl.core.errors import InputError
from edgetl.core.preprocess_rules import MOST_CHANNELS
from edgetl.runtime.foreign.graph import FLOATS, attribute, described, forget_types, free_name, readers, rename_reads, sizes
from edgetl.runtime.foreign.pixels import pixel_input_advice
from edgetl.runtime.loading import show

TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # NHWC -> NCHW and back
AXES = ("batch", "channels", "height", "width")


def take_images(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """Let the model take images [n, c, h, w]; what was changed, for people.

    1. No shape given: four sizes that are open.
    2. Channels last, and all that reads the input puts them first: these Transposes are taken out.
    3. Channels last otherwise: a Transpose is put in front.

    Raises:
        InputError: not one input, or one that takes no float images.
    """
    value = _only_input(model, name)
    tensor = value.type.tensor_type
    if tensor.elem_type not in FLOATS:
        tensors = value.type.HasField("tensor_type")
        to_do = pixel_input_advice(model, value.name, name) if tensors else ". Export the image classifier alone"
        raise InputError(f"expected {name} to take float images [n, c, h, w], found {described(value)}{to_do}")
    if not tensor.HasField("shape"):
        for axis in AXES:
            tensor.shape.dim.add(dim_param=axis)
        return (f"its input {value.name} has no shape: taken as [batch, channels, height, width]",)
    if len(tensor.shape.dim) != len(AXES):
        raise InputError(
            f"expected {name} to take images, float32 [n, c, h, w], found {described(value)}: {_kind(len(tensor.shape.dim))}. "
            "edgetl takes image classifiers"
        )
    if not _channels_last(model.graph, value):
        return ()
    _put_channels_first(model.graph, value)
    return (f"it takes NHWC images; edgetl's files take NCHW: {value.name} is {show(sizes(value))}",)


def _only_input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        found = ", ".join(described(value) for value in inputs) or "none"
        raise InputError(
            f"expected {name} to have one input, images [n, c, h, w], found {len(inputs)}: {found}. "
            "Fix the others to constants, or export the image classifier alone"
        )
    return inputs[0]


def _channels_last(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> bool:
    """By its sizes; where these are open or fit both, by what reads it."""
    second, last = (value.type.tensor_type.shape.dim[axis].dim_value for axis in (1, 3))
    if 0 < second <= MOST_CHANNELS < last or (0 < second <= MOST_CHANNELS and not 0 < last <= MOST_CHANNELS):
        return False
    if second > MOST_CHANNELS and 0 < last <= MOST_CHANNELS:
        return True
    nodes = readers(graph, value.name)
    return bool(nodes) and all(_puts_first(node) for node in nodes) and not last > MOST_CHANNELS


def _put_channels_first(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    nodes = readers(graph, value.name)
    given = {output.name for output in graph.output}
    if nodes and all(_puts_first(node) and node.output[0] not in given for node in nodes):
        for node in nodes:
            rename_reads(graph.node, node.output[0], value.name)
            graph.node.remove(node)
    else:
        last = free_name(graph, f"{value.name}_nhwc")
        rename_reads(nodes, value.name, last)
        name = free_name(graph, f"Transpose_{last}")
        graph.node.insert(0, onnx.helper.make_node("Transpose", [value.name], [last], name=name, perm=TO_LAST))
    shape = value.type.tensor_type.shape
    turned = [onnx.TensorShapeProto.Dimension.FromString(shape.dim[axis].SerializeToString()) for axis in TO_FIRST]
    del shape.dim[:]
    shape.dim.extend(turned)
    forget_types(graph)


def _puts_first(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and attribute(node, "perm") == TO_FIRST


def _kind(rank: int) -> str:
    return {2: "rows of numbers", 3: "signals of one dimension", 5: "volumes or video"}.get(rank, f"{rank} dimensions")
