"""model.image.onnx: pixels at the network's size in, probabilities out, all between in the graph; the same answers as model.onnx.

image          uint8 [batch, height, width, channels]: what `Preprocess.pixels` gives
probabilities  float32 [batch, classes]: `Classification.confidences`, logits divided by the temperature first
logits         float32 [batch, k]: what model.onnx gives, bit for bit, whatever its numbers mean
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgetl.bundle.graph_writing import NAME, GraphBuilder
from edgetl.bundle.pixel_input import on_pixels
from edgetl.bundle.resize_graph import Resizing
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair
from edgetl.core.progress import say
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.prepare.read import OLDEST_OPSET, upgraded
from edgetl.runtime.foreign.graph import graphs_in
from edgetl.runtime.loading import load_proto, opset
from edgetl.runtime.onnx_metadata import SEEN, check_file, save
from edgetl.runtime.plain_file import weights_are_no_inputs
from edgetl.tasks.meaning import ONE_OUTPUT, Meaning

MODEL, IMAGE_MODEL, ANY_SIZE_MODEL = "model.onnx", "model.image.onnx", "model.anysize.onnx"
IMAGE, PROBABILITIES, LOGITS = "image", "probabilities", "logits"
BATCH, CLASSES = "batch", "classes"
Sizes = Sequence[int | str]


def with_image_input(
    model: onnx.ModelProto, preprocess: Preprocess, meaning: Meaning = "logits", temperature: float = 1.0
) -> onnx.ModelProto:
    """The graph of model.onnx as one that reads pixels and gives probabilities.

    Args:
        model: one float image [n, channels, height, width] in, one row of outputs for each image out.
        preprocess: from pixels to what it takes.
        meaning: of its outputs.
        temperature: what logits are divided by before they become probabilities (Guo et al. 2017, "On Calibration of Modern Neural
            Networks", section 4.2).
    """
    written = GraphBuilder()
    written.node("Transpose", IMAGE, perm=[0, 3, 1, 2])
    shape = [_batch(model), *pair(preprocess.size), preprocess.channels]
    return with_ends(model, preprocess, written, shape, meaning=meaning, temperature=temperature)


def with_picture_input(
    model: onnx.ModelProto, preprocess: Preprocess, meaning: Meaning = "logits", temperature: float = 1.0
) -> onnx.ModelProto:
    """The same for one picture of any size, which the graph resizes and crops; arguments as of `with_image_input`.

    Raises:
        InputError: the graph takes another number of images than one.
    """
    if _batch(model) not in (1, BATCH):
        raise InputError(f"expected a graph that takes one image, found one that takes {_batch(model)}. Export it with a batch of 1")
    written = GraphBuilder()
    Resizing(written=written, preprocess=preprocess, opset=opset(model)).pixels(IMAGE)
    shape: list[int | str] = [1, "height", "width", preprocess.channels]
    return with_ends(model, preprocess, written, shape, meaning=meaning, temperature=temperature)


def write_image_models(folder: Path, preprocess: Preprocess, meaning: Meaning, temperature: float) -> None:
    """Write both beside the model.onnx in `folder`.

    Where that takes several images at once only, model.anysize.onnx is left out; where it is of an old opset and has an operator that
    has no form in a newer one, both are.
    """
    try:
        model = _at_least(load_proto(folder / MODEL), folder / MODEL)
    except InputError as error:
        say(f"export: without {IMAGE_MODEL} and {ANY_SIZE_MODEL}: {error}")
        return
    made = {IMAGE_MODEL: with_image_input(model, preprocess, meaning, temperature)}
    if _batch(model) in (1, BATCH):
        made[ANY_SIZE_MODEL] = with_picture_input(model, preprocess, meaning, temperature)
    for name, graph in made.items():
        save(without_seen(graph), folder / name)
        check_file(folder / name)


def _at_least(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model as it would be in the oldest opset that has the operators of pixels, if it is older.

    Raises:
        InputError: an operator has no form there.
    """
    weights_are_no_inputs(model)
    if opset(model) >= OLDEST_OPSET:
        return model
    newer = upgraded(model, path)
    del newer.metadata_props[:]
    newer.metadata_props.extend(model.metadata_props)
    return newer


def without_seen(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its record of seen images, in place: model.onnx beside it carries it, and is what `verify` asks."""
    kept = [item for item in model.metadata_props if item.key != SEEN]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def with_ends(
    model: onnx.ModelProto, preprocess: Preprocess, before: GraphBuilder, shape: Sizes, *, meaning: Meaning, temperature: float
) -> onnx.ModelProto:
    """The graph with `before` in front of it, which makes pixels (uint8, channels first) of `image`, and probabilities behind it."""
    row = model.graph.output[0]
    sizes = [part.dim_value or part.dim_param for part in row.type.tensor_type.shape.dim]
    flat = len(sizes) == 2
    names = {name: f"{NAME}_{name}" for name in (IMAGE, PROBABILITIES, LOGITS)}
    result = on_pixels(_renamed(model, names | {row.name: LOGITS if flat else f"{NAME}_output"}), preprocess, before)
    behind = GraphBuilder(prefix=f"{NAME}_answer")
    if not flat:
        behind.node("Flatten", f"{NAME}_output", output=LOGITS, axis=1)
    _probabilities(behind, meaning, temperature)
    result = with_nodes(result, [*result.graph.node, *behind.nodes], behind.values)
    width = sizes[1] if len(sizes) > 1 and isinstance(sizes[1], int) else CLASSES
    for fields in (result.graph.input, result.graph.output, result.graph.value_info):
        del fields[:]
    result.graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape))
    widths = {PROBABILITIES: 2 if meaning in ONE_OUTPUT else width, LOGITS: width}
    result.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], k]) for name, k in widths.items())
    return result


def _probabilities(written: GraphBuilder, meaning: Meaning, temperature: float) -> None:
    """From `logits` to `probabilities`, as `Classification.confidences` makes them."""
    zero, one = np.array(0, np.float32), np.array(1, np.float32)
    scaled = LOGITS if temperature == 1 else written.node("Div", LOGITS, np.array(temperature, np.float32))
    match meaning:
        case "probabilities" | "sigmoids":
            written.node("Clip", LOGITS, zero, one, output=PROBABILITIES)
        case "sigmoid" | "logit":
            second = written.node("Clip", LOGITS, zero, one) if meaning == "sigmoid" else written.node("Sigmoid", scaled)
            written.node("Concat", written.node("Sub", one, second), second, output=PROBABILITIES, axis=1)
        case _:  # the softmax of log probabilities is what they are the logarithms of
            written.node("Softmax", scaled, output=PROBABILITIES, axis=1)


def _batch(model: onnx.ModelProto) -> int | str:
    """Images at once: the number that the graph says, or any."""
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or BATCH


def _renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """A copy with other names of values, in all its graphs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for graph in graphs_in(result.graph):
        for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            value.name = names.get(value.name, value.name)
        for node in graph.node:
            for given in (node.input, node.output):
                given[:] = [names.get(name, name) for name in given]
    return result
