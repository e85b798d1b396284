"""A source of int8's noise, in words and numbers; `attribution` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class NoiseSource:
    """One rounding.

    Attributes:
        name: of the activation or weight in the float graph.
        kind: which of the two it is.
        noise: squared error of the logits that it causes alone, summed over the logits, mean over images.
        share: of the sum over all roundings.
        low, high: smallest and largest value seen of an activation.
        usual: what 99.9% of its values lie below.
    """

    name: str
    kind: Literal["activations", "weights"]
    noise: float
    share: float
    low: float | None = None
    high: float | None = None
    usual: float | None = None

    def line(self) -> str:
        """For people."""
        words = f"{self.share:.0%} of the quantization noise comes from {self.kind} of {self.name}"
        if self.low is None or self.high is None or self.usual is None:
            return words
        return f"{words} ({self.low:.3g} to {self.high:.3g}, 99.9% of them below {self.usual:.3g})"
