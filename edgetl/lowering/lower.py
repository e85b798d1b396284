"""A checkpoint becomes a float ONNX graph, and is compared with torch before anyone relies on it."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.torch_version import TorchVersion

from edgetl.core.errors import InputError
from edgetl.core.progress import track
from edgetl.models.checkpoint import CheckpointInfo, load_model, read_checkpoint
from edgetl.runtime.onnx_metadata import ModelInfo, check_file, clean, describe, save
from edgetl.runtime.session import open_session

OPSET, IR_VERSION = 20, 10  # what onnxruntime releases of the last two years read
INPUT, OUTPUT, BATCH_AXIS = "input", "logits", "batch"
EXPORT_TOLERANCE = 1e-3  # of the largest logit, or of 1 where that is smaller: float32 sums in another order stay far below
PRODUCER = "edgetl"
FIRST_WITH_PROGRAMS = "2.7"  # torch 2.5 and 2.6 refuse a free batch, or BatchNorm with today's onnxscript (docs/adr/0038)


def lower(checkpoint: Path, out: Path) -> None:
    """Write the float ONNX graph of `checkpoint` to `out`: `input` float32 [batch, 3, s, s] -> `logits` float32 [batch, k].

    The graph carries labels, Preprocess, task and split digest, and no local paths; the same checkpoint gives the same bytes.

    Raises:
        InputError: no checkpoint, a network that the exporter does not take, or a graph that does not answer as torch does.
    """
    info = read_checkpoint(checkpoint)
    with track(f"export {info.arch} to ONNX", total=3, unit="step") as bar:
        model = load_model(checkpoint)
        bar.advance()
        graph = exported(model, info)
        bar.advance()
        save(with_metadata(graph, info), out)
        check_file(out)
        check_equal(model, out, info)
        bar.advance(note="answers as in torch")


def exported(model: nn.Module, info: CheckpointInfo) -> onnx.ModelProto:
    """The ONNX graph that torch's exporter writes for a network in evaluation mode; the batch size is free.

    Raises:
        InputError: the exporter does not take the network.
    """
    side = info.preprocess.side
    example = torch.zeros(2, 3, side, side)  # two: the exporter takes a batch of one for a constant
    try:
        with _quiet():
            return _program(model, example) if TorchVersion(torch.__version__) >= FIRST_WITH_PROGRAMS else _traced(model, example)
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"expected a network that torch can export to ONNX, found that it cannot export {info.arch} at {side} px: {reason}. "
            "Choose another architecture"
        ) from error


def _program(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """By torch.export, the exporter of today."""
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim(BATCH_AXIS)},),
        opset_version=OPSET,
        external_data=False,
    )
    assert program is not None
    return program.model_proto


def _traced(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """By tracing, the exporter of older versions of torch. It does not notice an answer that depends on a value; torch.export does."""
    torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH_AXIS)},))
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        written = Path(folder) / "traced.onnx"
        torch.onnx.export(
            model,
            (example,),
            written,
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: BATCH_AXIS}, OUTPUT: {0: BATCH_AXIS}},
            opset_version=OPSET,
        )
        return onnx.load(written)


def with_metadata(graph: onnx.ModelProto, info: CheckpointInfo) -> onnx.ModelProto:
    """The graph with the metadata of its checkpoint, and without the exporter's notes (stack traces, local paths)."""
    model = describe(clean(graph), ModelInfo(classes=info.classes, preprocess=info.preprocess, task=info.task, seen=info.seen))
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = PRODUCER, ""
    model.graph.name = info.arch
    return model


def check_equal(model: nn.Module, path: Path, info: CheckpointInfo) -> None:
    """Prove on random images, one and three at a time, that the graph answers as the network does.

    Raises:
        InputError: some logit is off by more than `EXPORT_TOLERANCE` (relative to the largest), or is no number.
    """
    session = open_session(path)
    for count in (1, 3):
        x = np.random.default_rng(count).standard_normal((count, 3, info.preprocess.side, info.preprocess.side), dtype=np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(x)).numpy()
        difference = float(np.abs(session.run(x) - expected).max())
        allowed = EXPORT_TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:
            raise InputError(
                f"expected the logits of the ONNX graph of {info.arch} to differ from torch by at most {allowed:.2g}, "
                f"found a difference of {difference:.2g} on {count} random images. "
                "If the logits are huge, train longer or with a lower learning rate; otherwise choose another architecture"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes, warnings and log lines to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
