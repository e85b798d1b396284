"""JSON for people and bundles: what fits into a line is one, so that a list of four numbers does not take six lines."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 200  # characters of a line


def compact_json(value: Any, level: int = 0) -> str:
    """The text of plain JSON values, one space of indent a level.

    Raises:
        ValueError: NaN or infinity, which JSON does not know.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list | tuple) or len(line) + level <= WIDTH:
        return line
    if isinstance(value, dict):
        rows = [f"{json.dumps(str(key), ensure_ascii=False)}: {compact_json(inside, level + 1)}" for key, inside in value.items()]
    else:
        rows = [compact_json(inside, level + 1) for inside in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    pad = "\n" + " " * (level + 1)
    return first + pad + f",{pad}".join(rows) + "\n" + " " * level + last
