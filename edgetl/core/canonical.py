"""The canonical form of values and its sha256, from which the key of a stage is made.

Canonical JSON is similar to RFC 8785: sorted keys, no white space, UTF-8. A value of an unknown type is a `TypeError`, never a
guess, since a guess would be a wrong cache hit later.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import BaseModel
from pydantic.fields import FieldInfo

HASH_CHUNK_BYTES = 1 << 20
ADDED = {"added": True}  # metadata of a field that came later


@runtime_checkable
class Artifact(Protocol):
    """A value that enters keys by its content, never by where it lies."""

    @property
    def digest(self) -> str:
        """sha256 (64 hex digits) of the content."""
        ...


def canonical(value: object) -> object:
    """`value` as plain JSON types; artifacts by digest, dataclasses and settings by their fields.

    A dataclass field with `metadata={"key": False}` is left out: it changes how work is done, not its result. One with
    `metadata=ADDED` is left out while it has its default: what was made before the field was there keeps its key. So is a field of
    settings with `json_schema_extra=ADDED`.

    Raises:
        TypeError: a type the canonical form does not know, or a float that is not finite.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise TypeError(f"no canonical form for the float {value}")
            return value
        case enum.Enum():
            return canonical(value.value)
        case Path():
            raise TypeError(f"no canonical form for a path ({value}): wrap it in an artifact, which has a digest")
        case Artifact():
            return {"sha256": value.digest}
        case BaseModel():
            return {
                name: canonical(getattr(value, name)) for name, field in type(value).model_fields.items() if not _unset(value, name, field)
            }
        case Mapping():
            return {_text_key(key): canonical(item) for key, item in value.items()}
        case list() | tuple():
            return [canonical(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: canonical(getattr(value, f.name)) for f in key_fields(value)}
        case _:
            raise TypeError(f"no canonical form for {type(value).__qualname__}")


def key_fields(value: object) -> list[dataclasses.Field[object]]:
    """The fields of a dataclass that count for its key."""
    assert dataclasses.is_dataclass(value)
    return [f for f in dataclasses.fields(value) if f.metadata.get("key", True) and not _as_before(value, f)]


def _as_before(value: object, f: dataclasses.Field[object]) -> bool:
    return bool(f.metadata.get("added", False)) and getattr(value, f.name) == f.default


def _unset(value: BaseModel, name: str, field: FieldInfo) -> bool:
    """The same of settings, whose metadata lies in `json_schema_extra`."""
    return field.json_schema_extra == ADDED and getattr(value, name) == field.default


def _text_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"no canonical form for a mapping key of type {type(key).__qualname__}")
    return key


def canonical_json(value: object) -> str:
    """The canonical form of `value` as one line of JSON."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: object) -> str:
    """sha256 of the canonical JSON of `value`; what UTF-8 cannot hold (file names may be any bytes) enters as its escape."""
    return hashlib.sha256(canonical_json(value).encode(errors="backslashreplace")).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()
