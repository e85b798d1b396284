"""Operators that move codes and change none: followed as an index, written only where something reads the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgetl.cgen.plan import Decode, Load, Map, Operator, Pad
from edgetl.cgen.tensors import Tensor
from edgetl.cgen.values import Decoded, Index, LookupTable, MovedCodes, Unsupported, Value, lying, straight

IN_SQUARE = 2  # places of a side, where a layout turns squares into channels
FREE = -1


def moved(kind: str, value: Value, constants: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> Value:
    """What Reshape, Transpose, Pad and the like make of codes.

    Raises:
        Unsupported: of numbers that are computed in float.
    """
    if isinstance(value, Decoded) and kind != "Pad":
        source = moved(kind, value.source, constants, attributes)
        assert isinstance(source, MovedCodes | LookupTable)
        return replace(value, source=source)
    if not isinstance(value, MovedCodes | LookupTable):
        raise Unsupported("float values")
    if kind == "Pad":
        return _padded(value, constants, attributes)
    try:
        return replace(value, index=_turned(kind, value.index, constants, attributes))
    except ValueError as error:
        raise Unsupported(f"a shape that does not fit one image ({error})") from None


def _turned(kind: str, index: Index, constants: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> Index:
    match kind:
        case "Transpose":
            order = attributes.get("perm", list(range(index.ndim))[::-1])
            if order[0] != 0:
                raise Unsupported("a change of the batch dimension")
            return index.transpose(order)
        case "Reshape":
            wanted = [int(size) for size in constants[0]]
            return index.reshape([index.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)])
        case "Flatten":
            axis = int(attributes.get("axis", 1))
            return index.reshape(int(np.prod(index.shape[:axis])), FREE)
        case "Identity":
            return index
    axes = [int(axis) for axis in constants[0]] if constants else None
    if kind == "Squeeze":
        return index.squeeze(tuple(axes) if axes else None)
    return np.expand_dims(index, tuple(axes or ()))


def _padded(value: MovedCodes | LookupTable, constants: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> MovedCodes | LookupTable:
    """Bands of a constant around it."""
    amounts = constants[0].astype(int) if constants else np.array([FREE])
    if attributes.get("mode", b"constant") != b"constant" or len(amounts) != 2 * value.index.ndim or len(constants) > 2:
        raise Unsupported("a mode other than constant, or given axes")
    fill = (
        constants[1].reshape(()) if len(constants) > 1 else np.zeros((), value.values.dtype if isinstance(value, LookupTable) else np.uint8)
    )
    cut = np.minimum(amounts, 0).reshape(2, -1)
    index = value.index[tuple(slice(-int(low), size + int(high)) for low, high, size in zip(*cut, value.index.shape, strict=True))]
    widths = np.maximum(amounts, 0).reshape(2, -1).T
    if isinstance(value, LookupTable):
        if widths[:2].any() or index.shape[1] != len(value.fill) or (value.index < 0).any():
            raise Unsupported("padding of a padded tensor, or of the channels of an image")
        channels = -1 - np.arange(len(value.fill)).reshape(1, -1, 1, 1)
        bands = np.pad(np.ones(index.shape, bool), widths)
        return replace(value, index=np.where(bands, np.pad(index, widths), channels), fill=np.full(len(value.fill), fill, value.fill.dtype))
    if (value.index < 0).any() and value.fill != int(fill):
        raise Unsupported("padding with two values")
    return replace(value, index=np.pad(index, widths, constant_values=-1), fill=int(fill))


def recoded(operators: list[Operator], value: Decoded, codes: np.ndarray) -> MovedCodes | LookupTable:
    """Codes of codes behind a DequantizeLinear: the same ones where scales are the same."""
    if np.array_equal(codes, np.arange(len(codes))):
        return value.source
    if isinstance(value.source, LookupTable):
        return replace(value.source, values=codes[value.source.values], fill=codes[value.source.fill])
    source = value.source
    output = replace(source.tensor)
    operators.append(Map(source=source.tensor, output=output, codes=codes))
    return replace(source, tensor=output, fill=int(codes[source.fill]))


def materialized(operators: list[Operator], value: MovedCodes | LookupTable) -> Tensor:
    """The tensor of codes as they lie now, [channels, height, width]; written if they were moved.

    Raises:
        Unsupported: moved in a way that the C code does not have.
    """
    if isinstance(value, LookupTable):
        return _loaded(operators, value)
    if np.array_equal(value.index, straight(value.tensor.shape)):
        return value.tensor
    tensor, index = value.tensor, value.index
    if index.ndim != 4 or not (index >= 0).any():
        raise Unsupported("a reordering of int8 values that the C code does not support")
    before = np.argwhere(index[0] >= 0)[0]
    inner = tuple(slice(low, low + size) for low, size in zip(before, tensor.shape, strict=True))
    expected = np.full(index.shape[1:], -1, np.int64)
    if expected[inner].shape == tensor.shape:
        expected[inner] = straight(tensor.shape)[0]
    if not np.array_equal(expected, index[0]):
        raise Unsupported("a reordering of int8 values that the C code does not support")
    output = Tensor(channels=index.shape[1], height=index.shape[2], width=index.shape[3])
    channels, top, left = (int(low) for low in before)
    operators.append(Pad(source=tensor, output=output, before=(top, left, channels), fill=value.fill))
    return output


def _loaded(operators: list[Operator], value: LookupTable) -> Tensor:
    """The image's codes."""
    channels = len(value.values)
    index, squares = value.index, False
    if index.ndim == 4 and index.shape[1] == channels * IN_SQUARE**2:
        rows, columns = index.shape[2:]
        index = index.reshape(channels, IN_SQUARE, IN_SQUARE, rows, columns).transpose(0, 3, 1, 4, 2)
        index, squares = index.reshape(1, channels, IN_SQUARE * rows, IN_SQUARE * columns), True
    pads = lying(index, (channels, *value.size), by_channel=True)
    if pads is None:
        raise Unsupported("a reordering of the input image that the C code does not support")
    output = Tensor(channels=value.index.shape[1], height=value.index.shape[2], width=value.index.shape[3])
    codes, fill = value.values.astype(np.uint8), value.fill.astype(np.uint8)
    operators.append(Load(output=output, codes=codes, fill=fill, pads=pads, size=value.size, squares=squares))
    return output


def decoded(value: Decoded, operators: list[Operator]) -> int:
    """Logits from codes; how many."""
    assert isinstance(value.source, MovedCodes)
    source = value.source.tensor
    operators.append(Decode(source=source, output=None, scale=float(value.scale), zero=value.zero))
    return source.channels * source.places
