"""First layers in float on whole numbers (`quantization.candidates.exact_stem`), as integers.

Every weight and bias of an output is a multiple of one power of two, and no sum leaves 2^24 of them: the float32 sum is that integer
sum times the power of two, whatever the order. Max pools come after rounding here: rounding keeps the order of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.attributes import window_of
from edgetl.cgen.plan import Operator, WholeConv
from edgetl.cgen.tensors import Tensor
from edgetl.cgen.values import LookupTable, StemConv, Unsupported, Whole, lying

EXACT = 2**24  # float32 holds every whole number up to it
INT16 = 2**15 - 1
NOT_WHOLE = "float values: float sums differ between CPUs"


def exact_conv(source: LookupTable | Whole, constants: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> StemConv:
    """A float Conv whose sums are exact.

    Raises:
        Unsupported: one whose sums are not, or may not be.
    """
    weight = constants[0].astype(np.float64)
    bias = constants[1].astype(np.float64) if len(constants) > 1 else np.zeros(len(weight))
    if weight.ndim != 4:
        raise Unsupported("not two spatial dimensions")
    levels, tensor, size, most, bands = _read(source)
    whole, whole_bias, unit = _in_units(weight, bias, most)
    attributes = {**attributes, "pads": [each + more for each, more in zip(attributes.get("pads") or (0, 0, 0, 0), bands, strict=True)]}
    window, (height, width) = window_of(attributes, (weight.shape[2], weight.shape[3]), size)
    groups = int(attributes.get("group", 1))
    return StemConv(
        conv=WholeConv(
            source=tensor,
            output=Tensor(channels=len(weight), height=height, width=width),
            levels=levels,
            size=size,
            channels=weight.shape[1] * groups,
            window=window,
            groups=groups,
            weight=np.ascontiguousarray(whole.transpose(0, 2, 3, 1)),
            bias=whole_bias,
            unit=unit,
            steps=(),
            scale=1.0,
            zero=0,
            low=-INT16,
            high=INT16,
        )
    )


def _read(source: LookupTable | Whole) -> tuple[NDArray[np.int16] | None, Tensor | None, tuple[int, int], int, Sequence[int]]:
    """Levels as whole numbers or a tensor of them, height and width, the largest number, and bands of zeros around it."""
    if isinstance(source, Whole):
        return None, source.tensor, (source.tensor.height, source.tensor.width), source.most, (0, 0, 0, 0)
    values = source.values.astype(np.float64)
    pads = lying(source.index, (len(values), *source.size), by_channel=True)
    if pads is None or source.fill.any() or (values != np.rint(values)).any() or np.abs(values).max() > INT16:
        raise Unsupported(NOT_WHOLE)
    bands = (*pads, source.index.shape[2] - source.size[0] - pads[0], source.index.shape[3] - source.size[1] - pads[1])
    return values.astype(np.int16), None, source.size, int(np.abs(values).max()), bands


def _in_units(
    weight: NDArray[np.float64], bias: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.float32]]:
    """Weights and biases in units of each output's largest power of two that divides them all."""
    flat = np.concatenate([weight.reshape(len(weight), -1), bias[:, None]], axis=1)
    fraction, exponent = np.frexp(flat)
    bits = np.rint(fraction * EXACT).astype(np.int64)  # 24 of a float32's significand
    trailing = np.where(bits != 0, np.log2(np.maximum(bits & -bits, 1)).astype(int), 0)
    lowest = np.where(bits != 0, exponent - 24 + trailing, np.iinfo(np.int32).max).min(1)
    unit = np.exp2(np.where(lowest == np.iinfo(np.int32).max, 0, lowest).astype(float))
    whole = flat / unit[:, None]
    if (np.abs(whole[:, :-1]).sum(1) * most + np.abs(whole[:, -1])).max() > EXACT or np.abs(whole[:, :-1]).max() > INT16:
        raise Unsupported(NOT_WHOLE)
    return whole[:, :-1].reshape(weight.shape).astype(np.int16), whole[:, -1].astype(np.int32), unit.astype(np.float32)


def followed(stem: StemConv, *step: Any) -> StemConv:
    """One more operator behind it; behind a max pool only what keeps the order of numbers.

    Raises:
        Unsupported: other operators than these, or in another order.
    """
    if step[0] == "times" and step[1] <= 0:
        raise Unsupported("a factor that is not positive")
    if any(kind == "times" for kind, *_ in stem.conv.steps):
        raise Unsupported("operators in another order than Relu or Clip, then Mul")
    return replace(stem, conv=replace(stem.conv, steps=(*stem.conv.steps, step)))


def rounded(operators: list[Operator], stem: StemConv, scale: np.float32 | None = None, zero: int = 0) -> Whole:
    """Codes of that scale and zero point, or whole numbers where no scale is given."""
    conv, shape = stem.conv, stem.conv.output
    assert shape is not None
    if scale is not None:
        output = replace(shape)
        conv = replace(conv, output=output, scale=float(scale), zero=zero, low=0, high=255)
    else:
        low, high = _reach(conv)
        output = replace(shape, kind="int16")
        conv = replace(conv, output=output, low=low, high=high)
    operators.append(conv)
    for pool in stem.pools:
        output = pool(output)
    return Whole(tensor=output, most=max(abs(conv.low), abs(conv.high)))


def _reach(conv: WholeConv) -> tuple[int, int]:
    """Limits of the rounded result, by its clips.

    Raises:
        Unsupported: none that int16 holds.
    """
    low, high = -np.inf, np.inf
    for kind, *numbers in conv.steps:
        low, high = (max(low, numbers[0]), min(high, numbers[1])) if kind == "clip" else (low * numbers[0], high * numbers[0])
    if max(abs(low), abs(high)) > INT16:
        raise Unsupported("whole numbers beyond 16 bits")
    return int(np.rint(low)), int(np.rint(high))
