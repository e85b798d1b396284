"""read: a foreign ONNX file in, a self-contained float32 classifier out. An internal stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgetl.core.artifacts import FloatModel
from edgetl.core.stage import Stage
from edgetl.core.workspace import Do
from edgetl.runtime.foreign.read import read_float, read_runnable
from edgetl.runtime.foreign.side_files import ForeignModel
from edgetl.runtime.onnx_metadata import save

ReadForm = Literal["float32", "runnable"]  # to be quantized or exported; or to answer as it does


def is_onnx(path: Path) -> bool:
    """Whether the file's name says that it holds a graph."""
    return path.suffix.lower() in (".onnx", ".ort")


def read(model: Path, do: Do, form: ReadForm = "float32") -> FloatModel:
    """The ONNX file at `model`, unchanged if it can be used, else converted; the changes are reported.

    Raises:
        InputError: a file that cannot be used: expected, found, what to do.
    """
    found = read_float(model) if form == "float32" else read_runnable(model)
    found.tell()
    if found.clean:
        return FloatModel.of(model)
    del found  # the stage reads it again: both at once would be twice the memory
    return do(Read(source=ForeignModel.of(model), file_name=model.name, form=form)).model


@dataclass(frozen=True, kw_only=True)
class ReadModel:
    """The model as it was understood."""

    model: FloatModel


@dataclass(frozen=True, kw_only=True)
class Read(Stage[ReadModel]):
    """Write a foreign ONNX file, with its external data, as one file that onnxruntime opens."""

    name: ClassVar[str] = "read"
    version: ClassVar[int] = 1
    source: ForeignModel
    file_name: str  # of the user's file, so that messages name it
    form: ReadForm

    def run(self, out: Path) -> ReadModel:
        """Write the model under its own name."""
        found = read_float(self.source.path) if self.form == "float32" else read_runnable(self.source.path)
        save(found.model, out / self.file_name)
        return ReadModel(model=FloatModel.of(out / self.file_name))
