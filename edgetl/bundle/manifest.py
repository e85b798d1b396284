"""manifest.json, the machine-readable description of a bundle. It holds no date, path or timing: same inputs, same bytes.

| key          | value                                                                              |
|--------------|------------------------------------------------------------------------------------|
| `schema`     | 1                                                                                  |
| `task`       | `classification`                                                                   |
| `classes`    | class names in the order of the outputs (labels.txt says the same, a line each)    |
| `preprocess` | from the bytes of an image to the input (`core.preprocess.Preprocess`)             |
| `inputs`     | name, shape ("batch" where any number will do), dtype and meaning of each input    |
| `outputs`    | the same of each output                                                            |
| `opset`      | of model.onnx                                                                      |
| `shipped`    | whether model.onnx is the `int8` graph, a `mixed` one (some layers in float) or `float` |
| `target`     | the CPUs an int8 graph was made for                                                |
| `size_bytes` | of the graphs                                                                      |
| `files`      | sha256 of every other file: relative path with `/` -> 64 hex digits                |
| `versions`   | of what made the bundle                                                            |
| `provenance` | where data and weights come from, as far as the maker said                         |
| `split`      | digest of the split the model was trained on; `seen.json` says which images it saw |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from edgetl.core.artifacts import Form
from edgetl.core.errors import InputError, SettingsError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.tasks.meaning import Meaning

SCHEMA = 1
LIBRARIES = ("edgetl", "numpy", "onnx", "onnxruntime", "pillow", "torch")


def _preprocess(said: Any) -> Preprocess:
    """Read by its own rules, whose messages name its fields."""
    if not isinstance(said, dict):
        raise ValueError("the fields of a Preprocess expected")
    try:
        return Preprocess.from_fields(said)
    except SettingsError as error:
        raise ValueError("\n".join(line.strip() for line in str(error).splitlines()[1:])) from error


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        meaning: of its numbers, for people.
        kind: the same of an output, for programs (`edgetl.tasks.meaning`); None of an input.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str
    kind: Meaning | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of manifest.json; the table above says what each field holds."""

    schema: Literal[1] = 1
    task: str
    classes: tuple[str, ...]
    preprocess: Annotated[Preprocess, PlainValidator(_preprocess)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    shipped: Form
    target: str
    size_bytes: Mapping[str, int]
    files: Mapping[str, Sha256]
    versions: Mapping[str, str]
    provenance: Mapping[str, object]
    split: str | None

    def to_json(self) -> str:
        """The text of manifest.json; `from_json` reads it back."""
        return json.dumps({**asdict(self), "preprocess": self.preprocess.fields()}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Manifest:
        """What `to_json` wrote.

        Raises:
            InputError: not JSON, fields missing, or values of another type; all named.
        """
        try:
            return _adapter().validate_json(text, strict=True)
        except ValidationError as error:
            problems = [line for problem in error.errors() for line in _lines(problem)]
        raise InputError(f"expected a manifest.json of schema {SCHEMA}, found:\n{listing(problems)}")


def _lines(problem: Mapping[str, Any]) -> list[str]:
    where = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] != "value_error":
        return [f"{where}: {problem['msg']}"]
    return [f"{where}.{line}" for line in str(problem["ctx"]["error"]).splitlines()]


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)
