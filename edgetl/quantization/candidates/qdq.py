"""Writing int8 graphs: QuantizeLinear / DequantizeLinear pairs around what has int8 kernels.

Static, uint8 activations and int8 weights, per channel (U8S8): the form that onnxruntime fuses into int8 kernels on
x86 and ARM. onnxruntime's writer does the work, with edgetl's ranges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgetl.quantization.candidates.pixel_codes import PIXELS
from edgetl.quantization.graph.editing import with_nodes, without_unread
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import FLOAT_OUTPUT, INT8_OPS, runs_on_codes
from edgetl.quantization.graph.layers import absorbed
from edgetl.quantization.observe.ranges import Range

FORWARDING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
INFERRED = {"onnx.infer": "onnxruntime.quant"}  # how onnxruntime marks graphs whose shapes are inferred
SMALLEST_SPAN = 1e-20  # of a range: products of smaller steps leave float32
NEEDS_CODES = frozenset({"Conv"})  # runs in int8 only where its output is quantized too


def write_qdq(
    model: onnx.ModelProto, ranges: Mapping[str, Range], *, op_types: Collection[str] = INT8_OPS, floating: Collection[str] = ()
) -> onnx.ModelProto:
    """A prepared float graph -> its QDQ form; `ranges` has every float tensor beside an operator of `op_types`.

    Args:
        model: the graph, as `prepare` gives it.
        ranges: bounds of activations; of what only a Relu reads they may be left out: they are those of its result.
        op_types: the operators to quantize.
        floating: names of those that stay in float all the same.
    """
    bounds = {name: _bounds(found) for name, found in ranges.items()}
    for node in reversed(model.graph.node):
        if node.op_type == "Relu" and node.output[0] in bounds:
            bounds.setdefault(node.input[0], bounds[node.output[0]])
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    onnx.helper.set_model_props(copied, INFERRED)  # the writer would save and load it, to infer what is known
    writer = QDQQuantizer(
        copied,
        True,  # per channel
        False,  # of reduced range: `saturation` limits weights where it matters
        QuantType.QInt8,  # weights
        QuantType.QUInt8,  # activations
        TensorsData(CalibrationMethod.MinMax, bounds),
        [],
        sorted({*floating, *(node.name for node in model.graph.node if node.name.startswith(PIXELS))}),
        list(op_types),
        {},
    )
    writer.quantize_model()
    writer.model.topological_sort()
    written: onnx.ModelProto = writer.model.model
    del written.metadata_props[:]
    written.metadata_props.extend(model.metadata_props)
    return written


def _bounds(found: Range) -> tuple[np.float32, np.float32]:
    """What a scale is made of. Where nothing but zero was seen, one that leaves the biases behind it fine codes: not the writer's 1."""
    if found.high - found.low < SMALLEST_SPAN:
        return np.float32(0), np.float32(1)
    return np.float32(found.low), np.float32(found.high)


def as_qdq(model: onnx.ModelProto, ranges: Mapping[str, Range], *, floating: Collection[str] = ()) -> onnx.ModelProto:
    """A prepared float graph in the form that edgetl ships: pairs where codes pay, floats between what is in float, Concats that copy."""
    written = with_floats_between(write_qdq(model, ranges, floating=floating), floating)
    return with_shared_concats(with_float_products(with_float_outputs(written)), model)


def with_floats_between(model: onnx.ModelProto, floating: Collection[str]) -> onnx.ModelProto:
    """A QDQ graph whose operators in float read floats from each other, though others read the codes of the same value."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    index = GraphIndex(result)
    for node in result.graph.node:
        for place, name in enumerate(node.input if node.name in floating else ()):
            quantize = index.quantizer_of(name)
            maker = index.producer(quantize.input[0]) if quantize is not None else None
            if quantize is not None and maker is not None and maker.name in floating:
                node.input[place] = quantize.input[0]
    return without_unread(result)


def with_shared_concats(model: onnx.ModelProto, float_model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph whose Concats have one scale and zero point before and behind: they copy codes instead of computing new ones.

    The scale is that of the result, to which what goes in is rounded anyway. An input whose quantizer stands for a Relu or Clip
    that the other codes would not cut off keeps its own.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    index = GraphIndex(result)
    bounds = absorbed(GraphIndex(float_model), index)
    replaced: dict[str, str] = {}
    for node in reversed(result.graph.node):  # of chained ones, the last has the widest range
        if node.op_type != "Concat" or (behind := index.quantizers.get(node.output[0])) is None:
            continue
        new = [replaced.get(name, name) for name in behind.input[1:3]]
        for quantize in map(index.quantizer_of, node.input):
            if quantize is None:
                continue
            low, high = bounds.get(quantize.input[0], (None, None))
            if high is None and (low is None or (low == 0 and index.constants[new[1]] == 0)):
                for old, name in zip(quantize.input[1:3], new, strict=True):
                    replaced.setdefault(old, name)
    for node in result.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)
    return with_nodes(result, result.graph.node)


def with_float_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph whose outputs are not rounded to 256 codes: near the top, logits would tie.

    Going back from each output, pairs are taken out behind operators that only forward, and behind the operator that
    computes the output, unless that is a Conv, which would lose its int8 kernel.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for output in result.graph.output:
        name = output.name
        while (producer := _float_output(result, name)) is not None and producer.op_type in FORWARDING:
            name = producer.input[0]
    return result


def with_float_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ graph whose matrix products give floats where only operators in float read them."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    index = GraphIndex(model)
    int8 = runs_on_codes(index)
    on_floats = {name for position, node in enumerate(index.nodes) if not int8.get(position, True) for name in node.input}
    for name in (node.output[0] for node in index.nodes if node.op_type == "DequantizeLinear" and node.output[0] in on_floats):
        quantize = index.quantizer_of(name)
        product = index.producer(quantize.input[0]) if quantize is not None else None
        if product is not None and product.op_type in FLOAT_OUTPUT:
            _float_output(result, name)
    return result


def _float_output(model: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    """Take out the pair that gives `name`, in place, if it may go; the operator that gives `name` then."""
    index = GraphIndex(model)
    dequantize = index.producer(name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return dequantize
    quantize = index.producer(dequantize.input[0])
    producer = index.producer(quantize.input[0]) if quantize is not None else None
    if quantize is None or producer is None or producer.op_type in NEEDS_CODES:
        return None
    if any(index.times_read[value] > 1 for value in (name, dequantize.input[0], quantize.input[0])):
        return None
    renamed = [name if output == quantize.input[0] else output for output in producer.output]
    del producer.output[:]
    producer.output.extend(renamed)
    model.graph.node.remove(quantize)
    model.graph.node.remove(dequantize)
    return producer
