"""Pools, Adds and Concats of codes: the numbers that onnxruntime's kernels compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgetl.cgen.attributes import window_of
from edgetl.cgen.moves import materialized, recoded
from edgetl.cgen.plan import AverageLogits, AveragePool, Concat, GlobalAverage, MaxPool, Operator, Sum
from edgetl.cgen.stems import EXACT
from edgetl.cgen.sums import Scaled, in_whole_numbers
from edgetl.cgen.tensors import Tensor
from edgetl.cgen.values import (
    CODES,
    Decoded,
    LookupTable,
    MovedCodes,
    Pending,
    Row,
    StemConv,
    Unsupported,
    Value,
    quantized_codes,
    straight,
)

IN_FLOAT = "float values where the C code needs int8 values"


def max_pool(operators: list[Operator], value: Value, attributes: Mapping[str, Any]) -> Value:
    """The largest of a window: of codes at once, behind an exact Conv once its result is rounded.

    Raises:
        Unsupported: of numbers that are computed in float.
    """

    def pool(tensor: Tensor) -> Tensor:
        window, size = window_of(attributes, _kernel(attributes), (tensor.height, tensor.width))
        output = replace(tensor, height=size[0], width=size[1])
        operators.append(MaxPool(source=tensor, output=output, window=window))
        return output

    match value:
        case StemConv():
            return replace(value, pools=(*value.pools, pool))
        case Decoded() if np.all(np.diff(value.values) >= 0):
            codes = max_pool(operators, value.source, attributes)
            assert isinstance(codes, MovedCodes)
            return replace(value, source=codes)
        case MovedCodes():
            tensor = pool(materialized(operators, value))
            return MovedCodes(tensor=tensor, index=straight(tensor.shape))
        case LookupTable() if value.codes:
            tensor = pool(materialized(operators, value))
            return MovedCodes(tensor=tensor, index=straight(tensor.shape))
    raise Unsupported(IN_FLOAT)


def average_pool(operators: list[Operator], value: Value, attributes: Mapping[str, Any]) -> Pending:
    """The mean of a window; of one as large as its input onnxruntime takes that of the channel, which rounds otherwise.

    Raises:
        Unsupported: of numbers that are computed in float.
    """
    source = _plain(value)

    def finish(step: np.float32, zero: int) -> Tensor:
        tensor = materialized(operators, source.source)
        window, size = window_of(attributes, _kernel(attributes), (tensor.height, tensor.width))
        if window.kernel == (tensor.height, tensor.width) and not any(attributes.get("pads", ())):
            return _mean(operators, source, tensor, step, zero)
        output = replace(tensor, height=size[0], width=size[1])
        whole = bool(attributes.get("count_include_pad", 0))
        pool = AveragePool(
            source=tensor, output=output, window=window, values=source.values, whole_window=whole, scale=float(step), zero=zero
        )
        operators.append(pool)
        return output

    return Pending(name="AveragePool", finish=finish)


def global_average(operators: list[Operator], value: Value) -> Pending:
    """The mean of each channel.

    Raises:
        Unsupported: of numbers that are computed in float.
    """
    source = _plain(value)

    def finish(step: np.float32, zero: int) -> Tensor:
        return _mean(operators, source, materialized(operators, source.source), step, zero)

    def times(factor: np.float32) -> Row:
        return _mean_logits(operators, source, factor)

    return Pending(name="GlobalAveragePool", finish=finish, times=times if source.scale == 1 else None)


def _mean_logits(operators: list[Operator], source: Decoded, factor: np.float32) -> Row:
    """Means of whole numbers times a factor.

    Raises:
        Unsupported: sums that float32 may not hold.
    """
    tensor = materialized(operators, source.source)
    if tensor.places * (CODES - 1) > EXACT:
        raise Unsupported(f"a mean of {tensor.places} places, whose float sums differ between CPUs")
    operators.append(AverageLogits(source=tensor, output=None, source_zero=source.zero, scale=float(factor)))
    return Row(logits=tensor.channels)


def _mean(operators: list[Operator], source: Decoded, tensor: Tensor, step: np.float32, zero: int) -> Tensor:
    """That of each channel, with the scale that onnxruntime computes (onnxruntime/core/mlas/lib/qlgavgpool.cpp)."""
    output = replace(tensor, height=1, width=1)
    scale = np.float32(source.scale / np.float32(step * np.float32(tensor.places)))
    operators.append(GlobalAverage(source=tensor, output=output, source_zero=source.zero, scale=float(scale), zero=zero))
    return output


def summed(operators: list[Operator], inputs: Sequence[Value]) -> Pending:
    """The sum of two tensors of codes.

    Raises:
        Unsupported: of other shapes, or with scales whose sums round otherwise in whole numbers.
    """
    first, second = (_plain(value) for value in inputs)

    def finish(step: np.float32, zero: int) -> Tensor:
        parts = [materialized(operators, each.source) for each in (first, second)]
        if parts[0].shape != parts[1].shape:
            raise Unsupported("inputs of two shapes")
        scaled = [Scaled(scale=each.scale, zero=each.zero) for each in (first, second)]
        found = in_whole_numbers(scaled[0], scaled[1], Scaled(scale=step, zero=zero))
        if found is None:
            raise Unsupported("scales for which rounding differs between CPUs, as in files for other targets than portable")
        factors, offset, shift = found
        output = replace(parts[0])
        operators.append(Sum(first=parts[0], second=parts[1], output=output, factors=factors, offset=offset, shift=shift))
        return output

    return Pending(name="Add", finish=finish)


def concat(operators: list[Operator], inputs: Sequence[Value], attributes: Mapping[str, Any]) -> Pending:
    """Channels behind each other, in the codes of the result.

    Raises:
        Unsupported: along another axis than the channels'.
    """
    if attributes.get("axis") not in (1, -3):
        raise Unsupported("an axis other than that of the channels")
    sources = [_plain(value) for value in inputs]

    def finish(step: np.float32, zero: int) -> Tensor:
        parts = tuple(materialized(operators, recoded(operators, each, quantized_codes(each.values, step, zero))) for each in sources)
        if len({(part.height, part.width) for part in parts}) > 1:
            raise Unsupported("inputs of two shapes")
        output = replace(parts[0], channels=sum(part.channels for part in parts))
        operators.append(Concat(parts=parts, output=output))
        return output

    return Pending(name="Concat", finish=finish)


def _plain(value: Value) -> Decoded:
    if not isinstance(value, Decoded) or not value.plain:
        raise Unsupported(IN_FLOAT)
    return value


def _kernel(attributes: Mapping[str, Any]) -> tuple[int, int]:
    kernel = attributes["kernel_shape"]
    if len(kernel) != 2:
        raise Unsupported("not two spatial dimensions")
    return int(kernel[0]), int(kernel[1])
