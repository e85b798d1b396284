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
| `models`     | every graph: its file, input, outputs and size                                     |
| `decision`   | temperature and threshold (`bundle.decision.DecisionRule`); null where nobody gave labelled validation images |
| `c`          | bytes of flash and RAM that clients/c/ takes (`cgen.footprint.Footprint`); left out where there is none |
| `licences`   | of weights, of the images behind them, of the sample code                          |
| `seal`       | sha256 of this file's bytes where these 64 digits are 0 (`seal_of`)                |

`manifest.schema.json` in the bundle says the same as a JSON Schema (`edgetl.bundle.schema`).
Bundles of earlier versions lack the last four.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.licences import Licence
from edgetl.cgen.footprint import Footprint
from edgetl.core.artifacts import Form
from edgetl.core.compact_json import compact_json
from edgetl.core.errors import InputError, SettingsError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.tasks.meaning import Meaning

SCHEMA = 1
LIBRARIES = ("edgetl", "numpy", "onnx", "onnxruntime", "pillow", "torch")


UNSEALED = "0" * 64
LUMA = (19595, 38470, 7471)  # of 65536: ITU-R 601-2 as Pillow computes it


def spelled_out(preprocess: Preprocess) -> dict[str, Any]:
    """The fields of a Preprocess with what follows from them, so that nobody who reads them in another language need guess."""
    resized = "half_even" if preprocess.fit == "pad" else "down"
    return {
        **preprocess.fields(),
        "fit": preprocess.fit,
        "antialias": True,
        "rounding": {"pixels": "nearest", "resized": resized, "offsets": "half_even"},
        **({"luma": list(LUMA)} if preprocess.color == "gray" else {}),
        "gray16": {"bits": preprocess.bits or 16, "kept": "highest_8"},
    }


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
class ModelSpec:
    """One graph of the bundle: its file, what it takes and gives, and its size."""

    file: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    size_bytes: int


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
    decision: DecisionRule | None = None
    models: tuple[ModelSpec, ...] = ()
    licences: tuple[Licence, ...] = ()
    c: Footprint | None = None
    seal: Sha256 | None = field(default=None, compare=False)

    def to_json(self) -> str:
        """The text of manifest.json, sealed; `from_json` reads it back."""
        facts = {**asdict(self), "preprocess": spelled_out(self.preprocess), "seal": UNSEALED}
        if self.c is None:
            del facts["c"]
        text = compact_json(facts) + "\n"
        return text.replace(f'"seal": "{UNSEALED}"', f'"seal": "{seal_of(text.encode(), UNSEALED)}"')

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


def seal_of(text: bytes, seal: str) -> str:
    """The sha256 of a manifest's bytes with zeros in place of `seal`: it covers every byte, and is itself compared."""
    return hashlib.sha256(text.replace(f'"seal": "{seal}"'.encode(), f'"seal": "{UNSEALED}"'.encode())).hexdigest()


def _lines(problem: Mapping[str, Any]) -> list[str]:
    where = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] != "value_error":
        return [f"{where}: {problem['msg']}"]
    return [f"{where}.{line}" for line in str(problem["ctx"]["error"]).splitlines()]


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)
