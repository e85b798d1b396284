"""A plan: what an int8 graph computes for one image, as typed operators on tensors with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.tensors import Pair, Tensor, Window


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """One call of the C function.

    Attributes:
        output: what it makes; None of the last, which writes the logits.
    """

    output: Tensor | None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What it reads, the image left out."""
        return ()

    @property
    def scratch_bytes(self) -> int:
        """Of the arena while it runs."""
        return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Unary(Operator):
    """Reads one tensor."""

    source: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its source."""
        return (self.source,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Load(Operator):
    """Codes of the image's levels: uint8 [channels, 256], in bands of `fill` (one code for each channel) of `pads` places.

    Attributes:
        squares: whether 2 x 2 places become channels, in the order channel, row, column.
    """

    codes: NDArray[np.uint8]
    fill: NDArray[np.uint8]
    pads: Pair
    size: Pair
    squares: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Unary):
    """int8 Conv: int32 sums, times `scale` in float32, rounded half to even, plus `zero`.

    Attributes:
        weight: int8 [outputs, rows, columns, channels / groups].
        bias: int32 [outputs], `source_zero` times the sum of the weights already taken off.
        scale: float32 [outputs].
    """

    window: Window
    groups: int
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    source_zero: int
    zero: int

    @property
    def depthwise(self) -> bool:
        """Whether each output has one channel of its own."""
        return self.groups == self.source.channels == len(self.weight) > 1

    @property
    def scratch_bytes(self) -> int:
        """What lies under the window, as codes."""
        rows, columns = self.window.kernel
        direct = rows * columns == 1 and self.groups == 1 and self.window.pads == (0, 0)
        return 0 if direct or self.depthwise else rows * columns * self.source.channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Gemm(Unary):
    """Gemm with float logits: int32 sums times `scale`; weight int8 [outputs, inputs with channels last]."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeConv(Operator):
    """Conv of whole numbers with exact sums; what follows is one float32 operator each.

    Attributes:
        source: int16; None where it reads the image through `levels`.
        levels: int16 [channels, 256].
        size: height and width of what it reads.
        weight: int16 [outputs, rows, columns, channels / groups], in units of `unit` (float32 [outputs], powers of two).
        bias: int32 [outputs], in the same units.
        steps: what follows: ("clip", low, high) and ("times", factor), in order.
        scale: what the result is divided by before it is rounded; 1 where it becomes whole numbers.
        zero: of the codes.
        low, high: limits of the result.
    """

    source: Tensor | None
    levels: NDArray[np.int16] | None
    size: Pair
    channels: int
    window: Window
    groups: int
    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    unit: NDArray[np.float32]
    steps: Sequence[tuple[Any, ...]]
    scale: float
    zero: int
    low: int
    high: int

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its source, but for the image."""
        return (self.source,) if self.source else ()

    @property
    def scratch_bytes(self) -> int:
        """What lies under the window, as int16."""
        return 2 * self.window.kernel[0] * self.window.kernel[1] * self.channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum(Operator):
    """Add of codes: `(first * factors[0] + second * factors[1] + offset) >> shift`, negative ones 0, at most 255."""

    first: Tensor
    second: Tensor
    factors: Pair
    offset: int
    shift: int

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both."""
        return (self.first, self.second)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Unary):
    """The largest code in a window."""

    window: Window


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Unary):
    """float32 sums of dequantized codes, row by row, divided by their number (or the window's) and `scale`, plus `zero`, rounded."""

    window: Window
    values: NDArray[np.float32]
    whole_window: bool
    scale: float
    zero: int


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAverage(Unary):
    """int32 sums of codes less `source_zero`, times `scale` in float32, rounded, plus `zero`."""

    source_zero: int
    scale: float
    zero: int


@dataclass(frozen=True, kw_only=True, eq=False)
class AverageLogits(Unary):
    """Logits that are means: whole sums of codes less `source_zero`, divided by the places, times `scale`, each in float32."""

    source_zero: int
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Map(Unary):
    """One code for another: uint8 [256]."""

    codes: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Operator):
    """Channels of several tensors behind each other."""

    parts: tuple[Tensor, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.parts


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Unary):
    """Bands of `fill` around rows, columns and channels; `before` are those at the top, on the left and in front."""

    before: tuple[int, int, int]
    fill: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Decode(Unary):
    """Logits from codes: (code - zero) * scale."""

    scale: float
    zero: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """All of it, in order.

    Attributes:
        image: height, width and channels of the image.
        classes: number of logits.
    """

    image: tuple[int, int, int]
    classes: int
    operators: tuple[Operator, ...] = field(default=())
