"""Conv and Gemm of codes: the numbers that onnxruntime's QLinearConv and QGemm compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.attributes import window_of
from edgetl.cgen.moves import placed
from edgetl.cgen.plan import Conv, Linear, Operator, Tensor, Window
from edgetl.cgen.values import Decoded, Packed, Pending, Unsupported, Value, straight

INT32 = 2**31 - 1
CODE = 255


def on_codes(operators: list[Operator], inputs: Sequence[Value], attributes: Mapping[str, Any]) -> Pending:
    """A Conv of uint8 codes with int8 weights.

    Raises:
        Unsupported: what onnxruntime would compute in float, weights of another type.
    """
    source, weight, bias, scale = _parts(inputs)
    if weight.ndim != 4:
        raise Unsupported("another number of dimensions than height and width")
    ordered = np.ascontiguousarray(weight.transpose(0, 2, 3, 1))

    def finish(step: np.float32, zero: int) -> Tensor:
        tensor = placed(operators, source.source)
        window, size = window_of(attributes, (weight.shape[2], weight.shape[3]), (tensor.height, tensor.width))
        output = Tensor(channels=len(weight), height=size[0], width=size[1])
        groups = int(attributes.get("group", 1))
        operators.append(_conv(tensor, output, window, groups, ordered, bias, _requantization(source.scale, scale, step), source.zero, zero))
        return output

    return Pending(name="Conv", finish=finish)


def linear(operators: list[Operator], inputs: Sequence[Value], attributes: Mapping[str, Any]) -> Pending:
    """A Gemm of codes, whose weights are laid out as codes lie: channels last.

    Raises:
        Unsupported: another form of Gemm than `x W^T + b`.
    """
    source, weight, bias, scale = _parts(inputs)
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise Unsupported("transA, alpha or beta")
    weight = weight if attributes.get("transB", 0) else weight.T
    tensor = getattr(source.source, "tensor", None)
    if not isinstance(tensor, Tensor) or not np.array_equal(source.source.index.reshape(-1), straight(tensor.shape).reshape(-1)):
        raise Unsupported("codes that were moved in a way that the C code does not have")
    ordered = np.ascontiguousarray(weight.reshape(len(weight), *tensor.shape).transpose(0, 2, 3, 1))
    window = Window(kernel=(tensor.height, tensor.width))

    def finish(step: np.float32, zero: int) -> Tensor:
        output = Tensor(channels=len(weight), height=1, width=1)
        operators.append(_conv(tensor, output, window, 1, ordered, bias, _requantization(source.scale, scale, step), source.zero, zero))
        return output

    def logits() -> int:
        each = np.broadcast_to(np.asarray(source.scale * scale, np.float32), len(weight)).copy()
        operators.append(Linear(source=tensor, output=None, weight=ordered, bias=_less_zero(ordered, bias, source.zero), scale=each))
        return len(weight)

    return Pending(name="Gemm", finish=finish, logits=logits)


def _parts(inputs: Sequence[Value]) -> tuple[Decoded, NDArray[np.int8], NDArray[np.int64], NDArray[np.float32]]:
    """Activations, weight, bias and the weight's scale of each output."""
    source, weight, bias = ([*inputs, None])[:3]
    if not isinstance(source, Decoded) or not source.plain or not isinstance(weight, Packed):
        raise Unsupported("float numbers: its sums would differ from CPU to CPU")
    if weight.codes.dtype != np.int8 or weight.zero.any():
        raise Unsupported("weights that are not int8 with the zero point 0")
    if bias is not None and (not isinstance(bias, Packed) or bias.codes.dtype != np.int32):
        raise Unsupported("a bias in float")
    outputs = len(weight.codes)
    codes = np.zeros(outputs, np.int64) if bias is None else bias.codes.astype(np.int64).reshape(-1)
    return source, weight.codes.astype(np.int8), codes, np.broadcast_to(weight.scale, outputs).astype(np.float32)


def _requantization(source: np.float32, weight: NDArray[np.float32], output: np.float32) -> NDArray[np.float32]:
    """float32 [outputs], multiplied and divided in onnxruntime's order."""
    return np.asarray(source * weight / output, np.float32)


def _less_zero(weight: NDArray[np.int8], bias: NDArray[np.int64], zero: int) -> NDArray[np.int32]:
    """The bias less what the zero point of the codes adds; sums stay within int32.

    Raises:
        Unsupported: sums that may not.
    """
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    less = bias - zero * flat.sum(1)
    if (np.abs(less) + CODE * np.abs(flat).sum(1)).max() > INT32:
        raise Unsupported("sums beyond 32 bits")
    return less.astype(np.int32)


def _conv(
    source: Tensor,
    output: Tensor,
    window: Window,
    groups: int,
    weight: NDArray[np.int8],
    bias: NDArray[np.int64],
    scale: NDArray[np.float32],
    source_zero: int,
    zero: int,
) -> Conv:
    less = _less_zero(weight, bias, source_zero)
    return Conv(
        source=source,
        output=output,
        window=window,
        groups=groups,
        weight=weight,
        bias=less,
        scale=scale,
        source_zero=source_zero,
        zero=zero,
    )
