"""Adds of codes in whole numbers, proven against onnxruntime's float32 formula on all 65,536 pairs of codes.

onnxruntime's QLinearAdd (onnxruntime/core/mlas/lib/qladd.cpp) computes, in float32, `a A + (b B + F)` with A and B the scales of the
inputs over that of the output and F the output's zero point less both inputs' times A and B, rounds half to even and clamps; CPUs with
AVX2 fuse each multiplication with its addition (intrinsics/avx2/qladd_avx2.cpp). C has what both ways give.
edgetl gives Adds scales with which every one of these numbers is a multiple of 2^-14 (`quantization.layout.exact_adds`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHIFTS = (14, 16, 18, 20, 12, 10, 8)
MOST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Codes with a scale and a zero point."""

    scale: np.float32
    zero: int


def float_sums(first: Scaled, second: Scaled, output: Scaled) -> NDArray[np.int64]:
    """The code for each pair of codes, [256, 256], by onnxruntime's formula."""
    codes = np.arange(256, dtype=np.float32)
    ratio_a, ratio_b = np.float32(first.scale / output.scale), np.float32(second.scale / output.scale)
    fixed = np.float32(output.zero) - (ratio_a * np.float32(first.zero) + ratio_b * np.float32(second.zero))
    sums = (ratio_a * codes)[:, None] + (ratio_b * codes + fixed)[None, :]
    return _rounded(sums)


def fused_sums(first: Scaled, second: Scaled, output: Scaled) -> NDArray[np.int64]:
    """The same where each product is added before it is rounded: float64 holds both exactly."""
    codes = np.arange(256, dtype=np.float64)
    ratio_a, ratio_b = np.float32(first.scale / output.scale), np.float32(second.scale / output.scale)
    fixed = np.float32(output.zero) - (ratio_a * np.float32(first.zero) + ratio_b * np.float32(second.zero))
    inner = (float(ratio_b) * codes + float(fixed)).astype(np.float32).astype(np.float64)
    return _rounded(((float(ratio_a) * codes)[:, None] + inner[None, :]).astype(np.float32))


def _rounded(sums: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.clip(np.rint(sums), 0, 255).astype(np.int64)


def whole_sums(factors: tuple[int, int], offset: int, shift: int) -> NDArray[np.int64]:
    """The same in whole numbers, as the C code computes it."""
    codes = np.arange(256, dtype=np.int64)
    sums = (factors[0] * codes)[:, None] + (factors[1] * codes)[None, :] + offset
    return np.minimum(np.where(sums < 0, 0, sums >> shift), 255)


def in_whole_numbers(first: Scaled, second: Scaled, output: Scaled) -> tuple[tuple[int, int], int, int] | None:
    """Factors, offset and shift that give the code of every pair; None where no shift does, or CPUs differ."""
    wanted = float_sums(first, second, output)
    if not np.array_equal(wanted, fused_sums(first, second, output)):
        return None
    ratios = [float(np.float32(each.scale / output.scale)) for each in (first, second)]
    for shift in SHIFTS:
        factors = (round(ratios[0] * 2**shift), round(ratios[1] * 2**shift))
        exact = output.zero - ratios[0] * first.zero - ratios[1] * second.zero + 0.5
        offset = round(exact * 2**shift)
        if 255 * sum(factors) + abs(offset) <= MOST and np.array_equal(whole_sums(factors, offset, shift), wanted):
            return factors, offset, shift
    return None
