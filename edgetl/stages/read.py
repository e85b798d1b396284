"""read: an ONNX file of another maker gives a self-contained float32 classifier. Not a stage of its own for users."""

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
    """The ONNX file at `model` as it lies where it can be used so, else in a form that can; what was changed is said.

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
    """Write what lies in a foreign file, and beside it, as one file that onnxruntime opens as it is."""

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
