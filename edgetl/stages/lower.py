"""lower: a checkpoint in, its float ONNX graph out. An internal stage that quantize, export and verify share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgetl.core.artifacts import Checkpoint, FloatModel
from edgetl.core.stage import Stage
from edgetl.lowering.lower import lower


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """The float graph of a checkpoint."""

    model: FloatModel


@dataclass(frozen=True, kw_only=True)
class Lower(Stage[Lowered]):
    """Export a checkpoint to a float ONNX graph and check that it answers alike."""

    name: ClassVar[str] = "lower"
    version: ClassVar[int] = 2
    checkpoint: Checkpoint
    network: str = field(default="", metadata={"key": False})  # "teacher" or "student", for messages

    def run(self, out: Path) -> Lowered:
        """Write `model.float.onnx`."""
        path = out / "model.float.onnx"
        lower(self.checkpoint.path, path)
        return Lowered(model=FloatModel.of(path))
