"""The types of numbers in `report.json`, and the writing of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from edgetl.core.errors import InputError

PartReport = TypeVar("PartReport")

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Exact:
    """A part of the report with exactly the fields of the schema; another field is an error of the writer."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def plain(value: object) -> object:
    """Dataclasses, mappings and sequences as plain JSON types; a field that is None by default and in fact is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: plain(item) for f, item in pairs if not (f.default is None and item is None)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def read_part(path: Path, kind: type[PartReport], what: str) -> PartReport:
    """A part of the report that a stage wrote to a separate file; `what` names it in messages.

    Raises:
        InputError: something else is there.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise InputError(f"expected {what} at {path}, found other content: {error}. Delete its folder and run again") from error
