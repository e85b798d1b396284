"""What the reader knows of each value of a graph while it walks through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.plan import WholeConv
from edgetl.cgen.tensors import Pair, Tensor

CODES = 256
Index = NDArray[np.int64]  # which element of a source lies where, in ONNX's order; below 0: what a Pad filled in


class Unsupported(Exception):
    """An operator, or a form of one, that the C code does not have; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A constant."""

    value: NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A constant of codes behind its DequantizeLinear; `scale` and `zero` one for all or one for each output.

    Attributes:
        has_zero: whether the graph says a zero point.
    """

    codes: NDArray[np.generic]
    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    has_zero: bool


@dataclass(frozen=True, kw_only=True)
class LookupTable:
    """The image through a function of each channel: `values` [channels, 256], float32 or, behind a QuantizeLinear, uint8.

    Attributes:
        fill: what a Pad filled in, of each channel; where `index` is -1 - channel.
        size: height and width of the image.
    """

    size: Pair
    values: NDArray[np.generic]
    fill: NDArray[np.generic]
    index: Index

    @property
    def codes(self) -> bool:
        """Whether it holds codes."""
        return self.values.dtype == np.uint8


@dataclass(frozen=True, kw_only=True)
class MovedCodes:
    """Codes of a tensor, moved as `index` says; `fill` where that is below 0."""

    tensor: Tensor
    index: Index
    fill: int = 0


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Codes as floats: `values[code]`, float32 [256]; (code - zero) * scale where no operator came behind that (`plain`)."""

    source: MovedCodes | LookupTable
    scale: np.float32
    zero: int
    values: NDArray[np.float32]

    @property
    def plain(self) -> bool:
        """Whether only a DequantizeLinear stands between."""
        return np.array_equal(self.values, decoded_codes(self.scale, self.zero))


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A tensor of whole numbers up to `most`."""

    tensor: Tensor
    most: int


@dataclass(frozen=True, kw_only=True)
class StemConv:
    """An exact Conv in float and what follows it, before something rounds the result; `pools` come after that."""

    conv: WholeConv
    pools: tuple[Callable[[Tensor], Tensor], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What an int8 operator will make once a QuantizeLinear has said scale and zero point.

    Attributes:
        name: of the operator, for messages.
        finish: gives the tensor.
        logits: writes float logits instead; None where it cannot.
        times: the logits that its float result becomes behind a product with a number; None where it has no fixed bits.
    """

    name: str
    finish: Callable[[np.float32, int], Tensor]
    logits: Callable[[], int] | None = None
    bounds: tuple[float, float] | None = None
    times: Callable[[np.float32], Row] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Float logits that are written already, one behind the other; how many."""

    logits: int


Value = Stored | Packed | LookupTable | MovedCodes | Decoded | Whole | StemConv | Pending | Row


def decoded_codes(scale: np.float32, zero: int) -> NDArray[np.float32]:
    """What a DequantizeLinear makes of each code: float32 [256]."""
    return np.asarray((np.arange(CODES) - zero).astype(np.float32) * scale, np.float32)


def quantized_codes(
    values: NDArray[np.float32], scale: NDArray[np.float32] | np.float32, zero: NDArray[np.int64] | int
) -> NDArray[np.uint8]:
    """The uint8 codes that QuantizeLinear makes of floats of any shape: divided in float32, rounded half to even."""
    return np.asarray(np.clip(np.rint(values / scale) + zero, 0, CODES - 1), np.uint8)


def straight(shape: tuple[int, ...]) -> Index:
    """The index of what has not been moved, with a batch of one in front."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(1, *shape)


def lying(index: Index, shape: tuple[int, int, int], by_channel: bool) -> Pair | None:
    """Top and left of bands around a tensor of that shape (channels, height, width); None where something else moved it.

    What lies beyond the bottom or the right may be cut off.
    """
    if index.ndim != 4 or index.shape[1] != shape[0]:
        return None
    seen = np.argwhere(index[0] >= 0)
    if not len(seen):
        return None
    channel, row, column = (int(place) for place in seen[0])
    top, left = row - int(index[0, channel, row, column]) // shape[2] % shape[1], column - int(index[0, channel, row, column]) % shape[2]
    c, y, x = np.indices(index.shape[1:])
    inside = (y >= top) & (y - top < shape[1]) & (x >= left) & (x - left < shape[2])
    wanted = np.where(inside, (c * shape[1] + y - top) * shape[2] + x - left, -1 - c if by_channel else -1)
    return (top, left) if top >= 0 and left >= 0 and np.array_equal(index[0], wanted) else None
