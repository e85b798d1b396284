"""Frozen results to JSON and back. Paths are written relative to the stage's folder, so that a run folder can move."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def encode(value: object, root: Path) -> Any:
    """`value` as plain JSON types.

    Raises:
        TypeError: a type that results may not hold.
        ValueError: a path outside `root`.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return value.relative_to(root).as_posix()
        case Mapping():
            return {str(key): encode(item, root) for key, item in value.items()}
        case list() | tuple():
            return [encode(item, root) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: encode(getattr(value, f.name), root) for f in dataclasses.fields(value)}
        case _:
            raise TypeError(f"a result may not hold a {type(value).__qualname__}")


def decode(kind: Any, data: Any, root: Path) -> Any:
    """The value of type `kind` that `encode` wrote as `data`.

    Raises:
        TypeError: `data` does not fit `kind`.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if data is None else decode(next(a for a in arguments if a is not type(None)), data, root)
    if kind is Any or kind is object or origin is Literal:
        return data
    if kind is Path:
        return root / data
    if origin is tuple:
        return tuple(decode(arguments[0], item, root) for item in data)
    if origin in (dict, Mapping):
        return {key: decode(arguments[1], item, root) for key, item in data.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        there = [
            f for f in dataclasses.fields(kind) if f.name in data or f.default is dataclasses.MISSING
        ]  # an older result lacks the newer
        return kind(**{f.name: decode(hints[f.name], data[f.name], root) for f in there})
    if isinstance(data, kind) or (kind is float and isinstance(data, int)):
        return data
    raise TypeError(f"expected {kind}, found {type(data).__qualname__}")
