"""manifest.schema.json: what a manifest must be, for programs in any language (JSON Schema, draft 2020-12), and the check against it.

The schema keeps to a few keywords, which `mismatches` knows: type, const, enum, required, properties, additionalProperties, items,
minItems, pattern, minimum, anyOf. A keyword that it does not know is an error, not a pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

SCHEMA_FILE = "manifest.schema.json"
NOTES = frozenset({"$schema", "$id", "title", "description", "default"})
KINDS: Mapping[str, type | tuple[type, ...]] = {
    **{"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
}


def schema_text() -> str:
    """The text of manifest.schema.json in a bundle: without white space, which bundles of less than a megabyte would feel."""
    return json.dumps(manifest_schema(), separators=(",", ":"), ensure_ascii=False) + "\n"


@cache
def manifest_schema() -> Mapping[str, Any]:
    """The schema, read."""
    return dict(json.loads((files("edgetl.bundle") / "templates" / SCHEMA_FILE).read_text(encoding="utf-8")))


def mismatches(value: Any, schema: Mapping[str, Any], where: str = "manifest") -> Iterator[str]:
    """What of a JSON value is not as `schema` says, a line each that begins with the place.

    Raises:
        ValueError: a keyword of JSON Schema that this does not know.
    """
    if "type" in schema and not _is_any(value, schema["type"]):
        yield f"{where}: expected {schema['type']}, found {_shown(value)}"
        return
    for keyword, said in schema.items():
        match keyword:
            case "const" if value != said or type(value) is not type(said):
                yield f"{where}: expected {_shown(said)}, found {_shown(value)}"
            case "enum" if value not in said:
                yield f"{where}: expected one of {_shown(said)}, found {_shown(value)}"
            case "pattern" if isinstance(value, str) and re.search(said, value) is None:
                yield f"{where}: expected text like {said}, found {_shown(value)}"
            case "minimum" if isinstance(value, int | float) and value < said:
                yield f"{where}: expected at least {said}, found {_shown(value)}"
            case "anyOf" if all(any(mismatches(value, each, where)) for each in said):
                yield f"{where}: none of the {len(said)} forms it may have fits {_shown(value)}"
            case "required" | "properties" | "additionalProperties" if isinstance(value, dict):
                yield from _of_object(value, keyword, schema, where)
            case "items" | "minItems" if isinstance(value, list):
                yield from _of_array(value, keyword, said, where)
            case _ if keyword not in KNOWN:
                raise ValueError(f"the schema of {where} has the keyword {keyword}, which this check does not know")


KNOWN = NOTES | {
    "type",
    "const",
    "enum",
    "pattern",
    "minimum",
    "anyOf",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minItems",
}


def _of_object(value: Mapping[str, Any], keyword: str, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    own = schema.get("properties", {})
    match keyword:
        case "required":
            yield from (f"{where}.{name}: missing" for name in schema["required"] if name not in value)
        case "properties":
            for name, rule in own.items():
                if name in value:
                    yield from mismatches(value[name], rule, f"{where}.{name}")
        case _:
            rest, rule = {name: item for name, item in value.items() if name not in own}, schema["additionalProperties"]
            for name, item in rest.items():
                yield from (f"{where}.{name}: unknown",) if rule is False else mismatches(item, rule, f"{where}.{name}")


def _of_array(value: list[Any], keyword: str, said: Any, where: str) -> Iterator[str]:
    if keyword == "minItems":
        if len(value) < said:
            yield f"{where}: expected at least {said} items, found {len(value)}"
        return
    for index, item in enumerate(value):
        yield from mismatches(item, said, f"{where}[{index}]")


def _is_any(value: Any, kinds: str | list[str]) -> bool:
    """Whether it is of one of these types; true is no number."""
    named = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in named)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
