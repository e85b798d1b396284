"""What a CPU's int8 arithmetic asks of the weights."""

from __future__ import annotations

from edgetl.settings import Target


def saturates(target: Target) -> bool:
    """Whether pairs of products may saturate on a CPU that `target` stands for (`saturation` says how).

    1. `x86`: VPDPBUSD of VNNI adds four products in 32 bits (Intel SDM, volume 2): never.
    2. `arm64`: UDOT and UMLAL add in 32 bits (Arm ARM, C7.2): never.
    3. `x86-avx2`: VPMADDUBSW adds two in 16 bits.
    4. `web`: relaxed SIMD lets a browser take VPMADDUBSW for its dot product (WebAssembly relaxed-simd, i16x8.relaxed_dot).
    5. `portable`: any of these.
    """
    match target:
        case "x86" | "arm64":
            return False
        case "x86-avx2" | "web" | "portable":
            return True
