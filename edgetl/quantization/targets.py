"""What a CPU's int8 arithmetic asks of the weights.

x86 without VNNI adds two products of uint8 and int8 in 16 bits, and saturates there; weights of 7 bits cannot. With
them outputs are the same, bit for bit, on every CPU; without, the eighth bit buys accuracy where VNNI is certain.
"""

from __future__ import annotations

from edgetl.settings import Target


def reduced_range(target: Target) -> bool:
    """Whether weights keep to [-64, 64] (7 bits) for `target`."""
    match target:
        case "x86":
            return False
        case "x86-avx2" | "arm64" | "web" | "portable":
            return True
