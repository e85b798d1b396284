"""Constants as C text: tables of whole numbers, and floats in hexadecimal, which says every bit (C99, 6.4.4.2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WIDTH = 120  # characters of a line
TYPES = {"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}


def table(name: str, values: NDArray[np.generic]) -> str:
    """A const array of one dimension."""
    flat = values.reshape(-1)
    texts = (number(value) for value in flat) if values.dtype == np.float32 else map(str, flat.tolist())
    return f"static const {TYPES[str(values.dtype)]} {name}[{len(flat)}] = {{\n{_lines(texts)}\n}};\n"


def number(value: np.generic | float) -> str:
    """A float32 as a C constant, exactly."""
    single = np.float32(value)
    if not np.isfinite(single):
        return "-FLT_MAX" if single < 0 else "FLT_MAX"
    mantissa, exponent = float(single).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def _lines(texts: Iterable[str]) -> str:
    lines, line = [], "    "
    for text in texts:
        if len(line) + len(text) + 2 > WIDTH:
            lines.append(line.rstrip())
            line = "    "
        line += f"{text}, "
    return "\n".join([*lines, line.rstrip()])
