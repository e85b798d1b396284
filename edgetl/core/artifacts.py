"""Files that stages hand to each other: a path and the sha256 of what lies there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError

Form = Literal["int8", "mixed", "float"]  # of a graph that ships: all layers in int8, some in float, all in float


@dataclass(frozen=True, kw_only=True)
class FileArtifact:
    """One file, known by its content."""

    path: Path
    sha256: str

    @property
    def digest(self) -> str:
        """sha256 of the file."""
        return self.sha256

    @classmethod
    def of(cls, path: Path) -> Self:
        """The artifact for the file at `path`.

        Raises:
            InputError: there is no such file.
        """
        if not path.is_file():
            raise InputError(f"expected a file at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
        return cls(path=path, sha256=file_sha256(path))


@dataclass(frozen=True, kw_only=True)
class Checkpoint(FileArtifact):
    """A network in one safetensors file whose metadata says how to use it (`models.checkpoint` reads it)."""


@dataclass(frozen=True, kw_only=True)
class FloatModel(FileArtifact):
    """A float ONNX classifier; its Preprocess, labels and task travel in the ONNX metadata where known."""


@dataclass(frozen=True, kw_only=True)
class Int8Model(FileArtifact):
    """An int8 (QDQ) ONNX classifier."""


@dataclass(frozen=True, kw_only=True)
class BundleFolder:
    """A bundle: a folder, known by the sha256 of its manifest.json, which holds the sha256 of every other file."""

    path: Path
    sha256: str

    @property
    def digest(self) -> str:
        """sha256 of manifest.json."""
        return self.sha256
