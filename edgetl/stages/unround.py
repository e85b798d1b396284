"""unround: an int8 graph of unknown origin gives the float graph it stands for. Not a stage of its own for users: export needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgetl.bundle.unrounded import unrounded
from edgetl.core.artifacts import FloatModel, Int8Model
from edgetl.core.stage import Stage
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import FORM, TARGET, check_file, describe, info_of, save


@dataclass(frozen=True, kw_only=True)
class Unrounded:
    """The float graph."""

    model: FloatModel


@dataclass(frozen=True, kw_only=True)
class Unround(Stage[Unrounded]):
    """Write what an int8 graph computes without rounding."""

    name: ClassVar[str] = "unround"
    version: ClassVar[int] = 1
    int8: Int8Model

    def run(self, out: Path) -> Unrounded:
        """Write `model.float.onnx`.

        Raises:
            InputError: a graph that is not QDQ.
        """
        model, path = load_proto(self.int8.path), out / "model.float.onnx"
        info = info_of(model, self.int8.path.name)
        extra = {key: value for key, value in info.extra.items() if key not in (TARGET, FORM)}
        save(describe(unrounded(model), type(info)(**{**vars(info), "extra": extra})), path)
        check_file(path)
        return Unrounded(model=FloatModel.of(path))
