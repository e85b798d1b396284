"""Attributes of Convs and pools, as a Window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetl.cgen.tensors import Pair, Window
from edgetl.cgen.values import Unsupported


def window_of(attributes: Mapping[str, Any], kernel: Pair, size: Pair) -> tuple[Window, Pair]:
    """The Window of a Conv or pool over an input of `size`, and the height and width of what it gives.

    Raises:
        Unsupported: `auto_pad`.
    """
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" and any(attributes.get("pads", (1,))):
        raise Unsupported(f"auto_pad {attributes['auto_pad'].decode()}")
    strides, dilations = (tuple(attributes.get(name) or (1, 1)) for name in ("strides", "dilations"))
    pads = tuple(attributes.get("pads") or (0, 0, 0, 0))
    if len(pads) != 4:
        raise Unsupported("not two spatial dimensions")
    sides = [_length(size[axis], kernel[axis], strides[axis], dilations[axis], pads[axis::2], attributes) for axis in (0, 1)]
    window = Window(kernel=kernel, strides=strides, pads=(pads[0], pads[1]), dilations=dilations)
    return window, (sides[0], sides[1])


def _length(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, ...], attributes: Mapping[str, Any]) -> int:
    """ONNX's formula; with `ceil_mode` windows that begin in the padding behind the input are left out, as onnxruntime does."""
    room = size + sum(pads) - dilation * (kernel - 1) - 1
    if not attributes.get("ceil_mode", 0):
        return room // stride + 1
    length = -(-room // stride) + 1
    return length - 1 if (length - 1) * stride >= size + pads[0] else length
