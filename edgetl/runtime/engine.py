"""Bare onnxruntime sessions on the CPU."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgetl.core.errors import InputError
from edgetl.runtime.loading import brief

FILE_FROM_BYTES = 2**23  # bytes of a model in memory, beyond which they go through a file
FATAL_ONLY = 4  # onnxruntime's severity "fatal": errors reach us as exceptions


def start(model: Path | bytes, *, threads: int = 1, optimize: bool = True, profile: Path | None = None, name: str = "the model") -> Any:
    """A bare onnxruntime session on the CPU provider, quiet; `name` is what messages call a model in memory.

    Raises:
        InputError: onnxruntime does not take the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1:  # waiting threads that spin keep CPUs from other work, and from each other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    name = name if isinstance(model, bytes) else model.name
    try:
        with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
            given = in_file(model, Path(folder)) if isinstance(model, bytes) else _openable(model)
            del model
            return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors derive from Exception and share no base of their own
        refused = f"found that it cannot load {name}: {brief(error)}"
        raise InputError(f"expected a model that onnxruntime {ort.__version__} can run on a CPU, {refused}{_older(str(error))}") from error


def in_file(model: bytes, folder: Path) -> str | bytes:
    """A model in memory as onnxruntime is given it: a large one as a file in `folder`, since a session keeps bytes as long as it lives."""
    if len(model) <= FILE_FROM_BYTES:
        return model
    written = folder / "model.onnx"
    written.write_bytes(model)
    return str(written)


def _older(message: str) -> str:
    """What to do where onnxruntime says that a file is too new for it."""
    if re.search(r"opset|IR version|ir_version", message, re.IGNORECASE):
        return ". Export it for an older version, for example torch.onnx.export(..., opset_version=20), or install a newer onnxruntime"
    return ""


def _openable(model: Path) -> str | bytes:
    """The path, or the file's bytes where the path is no UTF-8, which is all that onnxruntime takes."""
    try:
        str(model).encode()
    except UnicodeEncodeError:
        return model.read_bytes()
    return str(model)
