"""An unambiguous ONNX file of a classifier: one output, shapes, class names and preprocessing in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import describe, info_of, save
from edgetl.runtime.outputs import with_one_output
from edgetl.runtime.session import Session

WEIGHTS_NO_INPUTS = 4  # the first IR version in which weights need not be inputs, too


def is_plain(session: Session) -> bool:
    """Whether the file of a session, as it was run so far, is unambiguous."""
    return len(session.engine.get_outputs()) == 1 and not _says_any(session)


def _says_any(session: Session) -> bool:
    """Whether it says that it takes any number of images, and does not."""
    return session.pace.one_by_one and session.input_shape[0] is None


def write_plain(source: Path, target: Path, session: Session, labels: Sequence[str] | None = None) -> Path:
    """A classifier's file: the one given, or, where something is ambiguous in it, a copy at `target`.

    1. Of several outputs, only the one that answers stays.
    2. A file that says that it takes any number of images at once, and takes one, says one.
    3. Class names that were given (`labels`) become part of its metadata.

    Args:
        source: the file.
        target: where a copy goes.
        session: `source`, opened, after it was run on several images.
        labels: class names in the order of the outputs, instead of those in the file, if any.
    """
    outputs = [node.name for node in session.engine.get_outputs()]
    if is_plain(session) and labels is None:
        return source
    model = load_proto(source)
    if len(outputs) > 1:
        others = ", ".join(name for name in outputs if name != session.output_name)
        say(f"{session.name}: keeps only the output {session.output_name} (removed: {others})")
        model = with_one_output(model, session.output_name)
    if _says_any(session):
        say(f"{session.name}: takes one image at a time, so the batch size in the file is 1")
        model = with_batch_of_one(model)
    if labels is not None:
        model = describe(model, replace(info_of(model, session.name), classes=tuple(labels)))
    target.parent.mkdir(parents=True, exist_ok=True)
    save(model, target)
    return target


def recorded(source: Path, target: Path, seen: SeenImages) -> Path:
    """The file at `source` if it carries this record of seen images, else a copy at `target` that does; both may be one path."""
    model = load_proto(source)
    info = info_of(model, source.name)
    if info.seen == seen.compact():
        return source
    target.parent.mkdir(parents=True, exist_ok=True)
    save(describe(model, replace(info, seen=seen)), target)
    return target


def weights_are_no_inputs(model: onnx.ModelProto) -> None:
    """Take the weights, which ONNX before IR version 4 lists among the inputs, out of that list, in place."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, WEIGHTS_NO_INPUTS)


def with_batch_of_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs and outputs have one row."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {tensor.name for tensor in result.graph.initializer}
    for value in (*result.graph.input, *result.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored and dims:
            dims[0].dim_value = 1
    del result.graph.value_info[:]  # what was inferred for any number
    return result
