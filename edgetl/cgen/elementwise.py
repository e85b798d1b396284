"""Operators on each number alone: followed as functions of levels and codes, and never computed by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgetl.cgen.stems import followed
from edgetl.cgen.values import Decoded, LookupTable, Pending, StemConv, Stored, Unsupported, Value, Whole

ARITHMETIC: dict[str, Callable[..., Any]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


def constant(value: Value) -> np.ndarray:
    """A constant's numbers.

    Raises:
        Unsupported: something that is computed.
    """
    if not isinstance(value, Stored):
        raise Unsupported("an input that is no constant")
    return value.value


def _limits(kind: str, inputs: Sequence[Value]) -> tuple[float, float]:
    """Of a Relu or Clip."""
    given = [float(constant(value).reshape(())) for value in inputs[1:]]
    low, high = ([*given, float("inf")])[:2] if kind == "Clip" else (0.0, float("inf"))
    return low, high


def elementwise(kind: str, inputs: Sequence[Value]) -> Value:
    """Operators on each number alone: one more function of levels, of codes, or behind an exact Conv.

    Raises:
        Unsupported: of numbers that are computed in float.
    """
    first = inputs[0]
    if kind in ("Relu", "Clip"):
        low, high = _limits(kind, inputs)
        match first:
            case Pending(bounds=None):
                return replace(first, bounds=(low, high), logits=None)
            case StemConv():
                return followed(first, "clip", low, high)
            case Whole():
                if low <= -first.most and first.most <= high:
                    return first
            case LookupTable() | Decoded():
                return _through(first, lambda values: np.clip(values, np.float32(low), np.float32(high)))
    elif kind == "Round" and isinstance(first, LookupTable):
        return _through(first, np.rint)
    elif kind in ARITHMETIC and len(inputs) == 2:
        return _computed(kind, inputs)
    raise Unsupported("float values where the C code needs int8 values")


def _computed(kind: str, inputs: Sequence[Value]) -> Value:
    """Arithmetic with constants."""
    by = next((value.value.astype(np.float32) for value in inputs if isinstance(value, Stored)), None)
    if by is None or (kind in ("Sub", "Div") and not isinstance(inputs[1], Stored)):
        raise Unsupported("two computed float inputs")
    other = inputs[0] if isinstance(inputs[1], Stored) else inputs[1]
    if isinstance(other, Pending) and other.times and kind == "Mul" and by.size == 1:
        return other.times(np.float32(by.reshape(())))
    if isinstance(other, StemConv) and kind == "Mul" and by.size == 1:
        return followed(other, "times", float(by.reshape(())))
    if isinstance(other, LookupTable) and by.size in (1, len(other.values)):
        return _through(other, lambda values: ARITHMETIC[kind](values, by.reshape((-1, 1) if values.ndim == 2 else (-1,))))
    raise Unsupported("float values where the C code needs int8 values")


def _through(value: LookupTable | Decoded, function: Callable[[np.ndarray], np.ndarray]) -> Value:
    """One more function of levels or codes."""
    if isinstance(value, Decoded):
        return replace(value, values=function(value.values))
    if value.codes:
        raise Unsupported("arithmetic on int8 values without DequantizeLinear")
    return replace(value, values=function(value.values), fill=np.broadcast_to(function(value.fill), value.fill.shape))
