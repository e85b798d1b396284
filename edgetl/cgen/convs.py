"""Conv and Gemm of codes: the numbers that onnxruntime's QLinearConv and QGemm compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.attributes import window_of
from edgetl.cgen.moves import materialized
from edgetl.cgen.plan import Conv, Gemm, Operator
from edgetl.cgen.tensors import Tensor, Window
from edgetl.cgen.values import Decoded, Packed, Pending, Unsupported, Value, straight

NEAR = 1e-6  # of a scale: multiplied in float32


def conv_on_codes(operators: list[Operator], inputs: Sequence[Value], attributes: Mapping[str, Any]) -> Pending:
    """A Conv of uint8 codes with int8 weights.

    Raises:
        Unsupported: what onnxruntime would compute in float, weights of another type.
    """
    source, weight, bias, scale = _parts(inputs)
    if weight.ndim != 4:
        raise Unsupported("not two spatial dimensions")
    ordered = np.ascontiguousarray(weight.transpose(0, 2, 3, 1))

    def finish(step: np.float32, zero: int) -> Tensor:
        tensor = materialized(operators, source.source)
        window, size = window_of(attributes, (weight.shape[2], weight.shape[3]), (tensor.height, tensor.width))
        output = Tensor(channels=len(weight), height=size[0], width=size[1])
        groups = int(attributes.get("group", 1))
        operators.append(
            _conv(tensor, output, window, groups, ordered, bias, _requantization(source.scale, scale, step), source.zero, zero)
        )
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
    if isinstance(inputs[1], Packed) and not inputs[1].has_zero:
        raise Unsupported("weights without a zero point, with which onnxruntime computes in float")
    weight = weight if attributes.get("transB", 0) else weight.T
    tensor = getattr(source.source, "tensor", None)
    if not isinstance(tensor, Tensor) or not np.array_equal(source.source.index.reshape(-1), straight(tensor.shape).reshape(-1)):
        raise Unsupported("a reordering of int8 values that the C code does not support")
    ordered = np.ascontiguousarray(weight.reshape(len(weight), *tensor.shape).transpose(0, 2, 3, 1))
    window = Window(kernel=(tensor.height, tensor.width))

    def finish(step: np.float32, zero: int) -> Tensor:
        output = Tensor(channels=len(weight), height=1, width=1)
        operators.append(_conv(tensor, output, window, 1, ordered, bias, _requantization(source.scale, scale, step), source.zero, zero))
        return output

    def logits() -> int:
        each = _for_each(np.asarray(source.scale * scale, np.float32), len(weight))
        operators.append(Gemm(source=tensor, output=None, weight=ordered, bias=_less_zero(ordered, bias, source.zero), scale=each))
        return len(weight)

    return Pending(name="Gemm", finish=finish, logits=logits)


def _parts(inputs: Sequence[Value]) -> tuple[Decoded, NDArray[np.int8], NDArray[np.int64], NDArray[np.float32]]:
    """Activations, weight, bias and the weight's scale of each output."""
    source, weight, bias = ([*inputs, None])[:3]
    if not isinstance(source, Decoded) or not source.plain or not isinstance(weight, Packed):
        raise Unsupported("float weights: float sums differ between CPUs")
    if weight.codes.dtype != np.int8 or weight.zero.any():
        raise Unsupported("weights that are not int8 with the zero point 0")
    if bias is not None and (not isinstance(bias, Packed) or bias.codes.dtype != np.int32):
        raise Unsupported("a bias in float")
    if bias is not None and not np.allclose(bias.scale, source.scale * weight.scale, rtol=NEAR, atol=0):
        raise Unsupported("a bias with another scale than that of the sums")
    codes = np.zeros(1, np.int64) if bias is None else bias.codes.astype(np.int64).reshape(-1)
    return source, weight.codes.astype(np.int8), codes, weight.scale


def _for_each(values: NDArray[Any], outputs: int) -> NDArray[Any]:
    """A number for each output, of those or of one for all."""
    return np.broadcast_to(values, outputs).copy()


def _requantization(source: np.float32, weight: NDArray[np.float32], output: np.float32) -> NDArray[np.float32]:
    """float32 [outputs], multiplied and divided in onnxruntime's order."""
    return np.asarray(source * weight / output, np.float32)


def _less_zero(weight: NDArray[np.int8], bias: NDArray[np.int64], zero: int) -> NDArray[np.int32]:
    """The bias less what the zero point of the codes adds, modulo 2^32: biases of channels that are never on reach -2^31."""
    less = _for_each(bias, len(weight)) - zero * weight.reshape(len(weight), -1).astype(np.int64).sum(1)
    return np.asarray(less.astype(np.uint64).astype(np.uint32).view(np.int32))


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
        scale=_for_each(scale, len(weight)),
        source_zero=source_zero,
        zero=zero,
    )
