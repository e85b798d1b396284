"""An int8 graph as onnxruntime runs it, read into a plan.

The graph is walked through once. Values that are not computed yet are kept as what is known of them (`cgen.values`): a function of the
image's levels, codes that were only moved, an operator that waits for the scale of its result. Each operator that onnxruntime runs on
codes becomes one of the plan's; what it would compute in float, but for exact first layers, has no fixed bits, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import numpy_helper

from edgetl.cgen import moves
from edgetl.cgen.averages import FLAT
from edgetl.cgen.convs import conv_on_codes, linear
from edgetl.cgen.elementwise import ARITHMETIC, constant, elementwise
from edgetl.cgen.plan import Operator, Program
from edgetl.cgen.pools import average_pool, concat, global_average, max_pool, summed
from edgetl.cgen.stems import exact_conv, rounded
from edgetl.cgen.values import (
    CODES,
    Decoded,
    LookupTable,
    MovedCodes,
    Packed,
    Pending,
    Row,
    StemConv,
    Stored,
    Unsupported,
    Value,
    Whole,
    decoded_codes,
    quantized_codes,
    straight,
)
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.quantization.graph.editing import attributes

MOVES = ("Flatten", "Identity", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def read_plan(model: onnx.ModelProto, preprocess: Preprocess) -> Program:
    """The plan of a classifier's int8 graph for one image, uint8 [height, width, channels] at the network's size.

    Args:
        model: a QDQ graph with one image input, float32 NCHW, prepared as `preprocess` says.
        preprocess: says which number each level of a pixel becomes.

    Raises:
        InputError: an operator that the C code does not have, or numbers that are not the same on every CPU; named.
    """
    reader = _Reader(preprocess)
    reader.values.update({tensor.name: Stored(value=numpy_helper.to_array(tensor)) for tensor in model.graph.initializer})
    reader.values[model.graph.input[0].name] = reader.image()
    answer = model.graph.output[0].name
    for node in model.graph.node:
        try:
            reader.values[node.output[0]] = reader.result(node)
        except Unsupported as missing:
            raise InputError(_refusal(node, str(missing))) from None
    return reader.plan(answer)


def _refusal(node: onnx.NodeProto, found: str) -> str:
    where = f"{node.op_type} (output {node.output[0]!r})"
    return (
        f"expected operators that edgetl can write as C ({', '.join(sorted(KNOWN))}), on int8 values, found {where}: {found}. "
        "Quantize with --target portable, or choose another student (edge_tiny to edge_large, ResNets, EfficientNet-Lite, MobileNetV2 "
        "and SqueezeNet can be written as C), or leave out --c"
    )


@dataclass(frozen=True)
class _Reader:
    """Values by name, and the operators so far."""

    preprocess: Preprocess
    values: dict[str, Value] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)

    def image(self) -> LookupTable:
        """The input: the number of each level, by the Preprocess."""
        channels, height, width = self.preprocess.shape
        column = np.repeat(np.arange(CODES, dtype=np.uint8)[:, None, None], channels, axis=2)
        values = self.preprocess.normalize(column)[:, :, 0]
        return LookupTable(
            size=(height, width), values=values, fill=np.zeros(channels, np.float32), index=straight((channels, height, width))
        )

    def plan(self, answer: str) -> Program:
        """All of it.

        Raises:
            InputError: an answer that is no row of logits.
        """
        value, (channels, height, width) = self.values[answer], self.preprocess.shape
        classes = None
        if isinstance(value, Pending) and value.logits:
            classes = value.logits()
        elif isinstance(value, Row):
            classes = value.logits
        elif isinstance(value, Decoded) and isinstance(value.source, MovedCodes) and value.plain:
            classes = moves.decoded(value, self.operators)
        if classes is None:
            raise InputError(
                f"expected logits that a Gemm or a DequantizeLinear computes, found another operator for {answer!r}. Leave out --c"
            )
        return Program(image=(height, width, channels), classes=classes, operators=tuple(self.operators))

    def result(self, node: onnx.NodeProto) -> Value:
        """What a node makes.

        Raises:
            Unsupported: something that the C code does not have.
        """
        inputs = [self.values[name] for name in node.input if name in self.values]
        given = attributes(node)
        if node.op_type == "Constant" and "value" in given:
            return Stored(value=numpy_helper.to_array(given["value"]))
        if not inputs or len(inputs) != len([name for name in node.input if name]):
            raise Unsupported("inputs that no earlier operator computes")
        first = inputs[0]
        match node.op_type:
            case "DequantizeLinear":
                return _dequantized(inputs)
            case "QuantizeLinear":
                return self.quantized(first, *(constant(value) for value in inputs[1:]))
            case "Conv" if isinstance(first, LookupTable | Whole):
                return exact_conv(first, [constant(value) for value in inputs[1:]], given)
            case "Conv":
                return conv_on_codes(self.operators, inputs, given)
            case "Gemm":
                return linear(self.operators, inputs, given)
            case "Add" if all(isinstance(value, Decoded) for value in inputs):
                return summed(self.operators, inputs)
            case "MaxPool":
                return max_pool(self.operators, first, given)
            case "AveragePool":
                return average_pool(self.operators, first, given)
            case "GlobalAveragePool":
                return global_average(self.operators, first)
            case "Concat":
                return concat(self.operators, inputs, given)
            case "Round" if isinstance(first, StemConv):
                return rounded(self.operators, first)
            case kind if isinstance(first, Row) and kind in FLAT:
                return first
            case kind if kind in MOVES and isinstance(first, Pending):
                raise Unsupported(f"the result of a {first.name} in float: float sums differ between CPUs")
            case kind if kind in MOVES:
                return moves.moved(node.op_type, first, [constant(value) for value in inputs[1:]], given)
            case kind if kind in KNOWN:
                return elementwise(kind, inputs)
        raise Unsupported("edgetl has no C code for this operator")

    def quantized(self, value: Value, scale: np.ndarray, zero: np.ndarray | None = None) -> Value:
        """What a QuantizeLinear makes: what waited for it is computed now."""
        zeros = np.zeros(1, np.uint8) if zero is None else zero.reshape(-1)
        if zeros.dtype != np.uint8:
            raise Unsupported(f"codes of type {zeros.dtype}, not uint8")
        scales = scale.reshape(-1).astype(np.float32)
        if isinstance(value, LookupTable) and not value.codes and len(scales) in (1, len(value.values)):
            codes = quantized_codes(value.values.astype(np.float32), scales[:, None], zeros.astype(np.int64)[:, None])
            return replace(value, values=codes, fill=quantized_codes(value.fill.astype(np.float32), scales, zeros.astype(np.int64)))
        if len(scales) > 1:
            raise Unsupported("a scale per channel")
        step, offset = np.float32(scales[0]), int(zeros[0])
        match value:
            case Decoded():
                return moves.recoded(self.operators, value, quantized_codes(value.values, step, offset))
            case Pending():
                if value.bounds and not _without_effect(value.bounds, step, offset):
                    raise Unsupported("a Relu or Clip that the range of its QuantizeLinear does not replace")
                tensor = value.finish(step, offset)
            case StemConv():
                tensor = rounded(self.operators, value, step, offset).tensor
            case _:
                raise Unsupported("float values that no quantized operator computes")
        return MovedCodes(tensor=tensor, index=straight(tensor.shape))


def _dequantized(inputs: list[Value]) -> Value:
    """Codes, or a constant of codes, as floats."""
    scale = constant(inputs[1]).reshape(-1).astype(np.float32)
    zero = constant(inputs[2]).reshape(-1).astype(np.int64) if len(inputs) > 2 else np.zeros(1, np.int64)
    first = inputs[0]
    if isinstance(first, Stored):
        return Packed(codes=first.value, scale=scale, zero=zero, has_zero=len(inputs) > 2)
    if not isinstance(first, MovedCodes) and not (isinstance(first, LookupTable) and first.codes):
        raise Unsupported("float values in place of int8 values")
    if len(scale) > 1:
        raise Unsupported("a scale per channel")
    return Decoded(source=first, scale=np.float32(scale[0]), zero=int(zero[0]), values=decoded_codes(np.float32(scale[0]), int(zero[0])))


def _without_effect(bounds: tuple[float, float], scale: np.float32, zero: int) -> bool:
    """Whether the smallest and the largest code lie within."""
    reach = decoded_codes(scale, zero)
    return bounds[0] <= float(reach[0]) and float(reach[-1]) <= bounds[1] * (1 + 1e-6)


KNOWN = frozenset(
    {
        *ARITHMETIC,
        *MOVES,
        "AveragePool",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "DequantizeLinear",
        "Gemm",
        "GlobalAveragePool",
        "MaxPool",
        "QuantizeLinear",
        "Relu",
        "Round",
    }
)
