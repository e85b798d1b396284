"""Tensors of one image, and how windows move over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pair = tuple[int, int]  # height, width
BYTES = {"uint8": 1, "int16": 2}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """Activations of one image, [height, width, channels]: codes (uint8), or whole numbers (int16)."""

    height: int
    width: int
    channels: int
    kind: Literal["uint8", "int16"] = "uint8"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width: as ONNX orders them."""
        return self.channels, self.height, self.width

    @property
    def places(self) -> int:
        """Height times width."""
        return self.height * self.width

    @property
    def size_bytes(self) -> int:
        """In the arena."""
        return self.places * self.channels * BYTES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Window:
    """How a Conv or pool moves over its input; `pads` are those at the top and on the left, in places."""

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pair = (0, 0)
    dilations: Pair = (1, 1)
