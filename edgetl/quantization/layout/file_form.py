"""From a QDQ graph to a file: the metadata and the names of inputs and outputs of the float model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import onnx

from edgetl.quantization.graph.network_names import NetworkNames
from edgetl.quantization.layout.lay_out import lay_out
from edgetl.quantization.layout.short_names import SHORT_NAMES
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
        keep_names: whether nodes and values keep their long names.
    """

    target: Target
    info: ModelInfo
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    activation: Activation | None
    keep_names: bool = False

    @staticmethod
    def of(model: Path, calibration: InputSource, target: Target, *, keep_names: bool = False) -> FileForm:
        """The form of all int8 files that are made of the float model `model`.

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
            keep_names=keep_names,
        )

    def written(self, graph: onnx.ModelProto, floating: tuple[str, ...] = ()) -> onnx.ModelProto:
        """The graph to write for a QDQ graph whose layers `floating` are in float."""
        ending = {} if self.activation in (None, "linear") else {ACTIVATION: self.activation}
        extra = {**self.info.extra, TARGET: self.target, **ending, **({FORM: MIXED} if floating else {})}
        laid_out = lay_out(graph, self.target, self.inputs, self.outputs, keep_names=self.keep_names)
        return describe(laid_out, replace(self.info, extra=extra))

    def named(self, graph: onnx.ModelProto, floating: tuple[str, ...], network: NetworkNames) -> tuple[onnx.ModelProto, dict[str, str]]:
        """The graph to write, and its names: name of a node or value in the file -> the network's own name."""
        long = replace(self, keep_names=True).written(graph, floating)
        written = long if self.keep_names else SHORT_NAMES(long)
        return written, network.in_file(long, written)
