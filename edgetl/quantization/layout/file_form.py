"""What every int8 file that is written of one float model has in common: its metadata, and the names of inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import onnx

from edgetl.quantization.layout.lay_out import lay_out
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, ModelInfo, describe, read_info
from edgetl.runtime.outputs import ACTIVATION
from edgetl.runtime.session import InputSource, open_session
from edgetl.settings import Target
from edgetl.tasks.meaning import Activation


@dataclass(frozen=True, kw_only=True)
class FileForm:
    """How a QDQ graph of one float model becomes a file.

    Attributes:
        target: the CPU it is for.
        info: labels, Preprocess and other metadata of the float model, which are kept.
        inputs, outputs: the names that the float model has for them.
        activation: what ends the graph.
    """

    target: Target
    info: ModelInfo
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    activation: Activation | None

    @staticmethod
    def of(model: Path, calibration: InputSource, target: Target) -> FileForm:
        """The form of what is made of the file `model`.

        Raises:
            InputError: no classifier, or a first image that does not fit it.
        """
        session = open_session(model)
        for first in islice(calibration.batches(1), 1):
            next(session.input.feeds(first.x))
        return FileForm(
            target=target,
            info=read_info(model),
            inputs=tuple(value.name for value in session.engine.get_inputs()),
            outputs=tuple(value.name for value in session.engine.get_outputs()),
            activation=session.activation,
        )

    def written(self, graph: onnx.ModelProto, floating: tuple[str, ...] = ()) -> onnx.ModelProto:
        """What is written of a QDQ graph that leaves the layers `floating` in float."""
        ending = {} if self.activation in (None, "linear") else {ACTIVATION: self.activation}
        extra = {**self.info.extra, TARGET: self.target, **ending, **({FORM: MIXED} if floating else {})}
        return describe(lay_out(graph, self.target, self.inputs, self.outputs), replace(self.info, extra=extra))
