"""The function `edgetl.quantize`: the int8 engine in one call, for a file and arrays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_calibration
from edgetl.data.npz import NpzTensors
from edgetl.data.placed import near_duplicates_in
from edgetl.data.suited import suited
from edgetl.data.tensors import ImageTensors
from edgetl.metrics.clusters import Groups, group_numbers
from edgetl.quantization.engine import quantize as write_int8
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.record import QuantizationRecord
from edgetl.quantization.search.evaluator import LATENCY_RUNS
from edgetl.runtime.foreign.read import read_float
from edgetl.runtime.kernels import Placement, kernels, placement
from edgetl.runtime.latency import Latency, measure_all
from edgetl.runtime.onnx_metadata import read_info, save
from edgetl.runtime.session import InputSource
from edgetl.settings import Runtime, Target


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A file: bytes, and the latency of one image at one thread in ms, both files in turns."""

    size_bytes: int
    latency_ms: Latency


@dataclass(frozen=True, kw_only=True)
class Result:
    """An int8 model with its measurements.

    Attributes:
        model: the int8 graph.
        log: the methods that were tried, with their effect, the ranges, and the sources of the remaining noise.
        before, after: the float and the int8 file.
        images: number of calibration images for `agreement` and `sqnr_db`.
        agreement: share of images with the same answer.
        interval: of that share, 95% (Wilson); near-duplicates are allowed for in a folder or an .npz, not in an array or a stream.
        sqnr_db: of the logits against the float model's; infinite where they are equal.
        held_out: whether neither these images nor, in a folder or an .npz, near-duplicates of them had influence on the int8 model; if not,
            `log.reported.why_not` says why.
        placement: the operators that onnxruntime runs in int8 and in float.
    """

    model: onnx.ModelProto
    log: QuantizationRecord
    before: Measured
    after: Measured
    images: int
    agreement: float
    sqnr_db: float
    placement: Placement
    interval: tuple[float, float]
    held_out: bool

    def save(self, path: str | Path) -> None:
        """Write the model; an existing file is replaced whole or not at all."""
        write_whole(Path(path), self.model.SerializeToString())


def quantize(
    model: str | Path | onnx.ModelProto,
    calibration: str | Path | NDArray[np.float32] | InputSource,
    *,
    target: Target = "portable",
    preprocess: Preprocess | None = None,
    tune_images: int | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
) -> Result:
    """Quantize a float ONNX classifier to int8.

    Args:
        model: a file, or a graph in memory.
        calibration: images without labels: a folder, an .npz, an array float32 [n, c, h, w] (already preprocessed), or a stream.
        target: the CPU that will run the model; `portable` gives the same answers on all CPUs, unless layers stay in float.
        preprocess: the preprocessing of images in a folder, if the model file does not contain it.
        tune_images: number of images for tuning all layers together; None: chosen by the input size, 0: no tuning.
        time_limit: seconds; the best model so far is returned. None: a fixed amount of work, the same on every machine.
        threads: of onnxruntime and torch; another number gives other bytes. None: the CPUs that the process may use, at most 8.

    Raises:
        InputError: the model or the images cannot be used; the message says what was expected, what was found, and what to do.
    """
    count = threads if threads is not None else Runtime().threads
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        before = Path(model) if isinstance(model, str | Path) else Path(folder) / "model.onnx"
        if isinstance(model, onnx.ModelProto):
            before.write_bytes(model.SerializeToString())
        before = _read(before, Path(folder))
        after = Path(folder) / "model.int8.onnx"
        source = _source(calibration, before, preprocess)
        log = write_int8(
            before, source, target=target, out=after, threads=count, tune_images=tune_images, alike=_alike(source), time_limit=time_limit
        )
        size = next(iter(source.batches(1))).x.shape[1:]
        latency, found = measure_all([before, after], LATENCY_RUNS, like=size), log.reported
        sizes = [path.stat().st_size for path in (before, after)]
        return Result(
            model=onnx.load(after),
            log=log,
            before=Measured(size_bytes=sizes[0], latency_ms=latency[0]),
            after=Measured(size_bytes=sizes[1], latency_ms=latency[1]),
            images=found.images,
            agreement=found.agreement,
            sqnr_db=inf if found.sqnr_db is None else found.sqnr_db,
            placement=placement(kernels(after, like=size, names=log.names)),
            interval=found.interval,
            held_out=found.held_out,
        )


def _read(model: Path, folder: Path) -> Path:
    """The file at `model`, or under its name in `folder` what it had to become."""
    found = read_float(model)
    found.tell()
    if found.clean:
        return model
    save(found.model, folder / model.name)
    return folder / model.name


def _alike(source: InputSource) -> Groups | None:
    """The groups of near-duplicates in a folder or an .npz, int64 [n]; None where none are known."""
    groups = near_duplicates_in(source) if isinstance(source, ImageTensors | NpzTensors) else ()
    return group_numbers(source.hashes, groups) if isinstance(source, ImageTensors | NpzTensors) and groups else None


def _source(calibration: str | Path | NDArray[np.float32] | InputSource, model: Path, preprocess: Preprocess | None) -> InputSource:
    if isinstance(calibration, str | Path):
        return suited(model, [open_calibration(Path(calibration), preprocess or read_info(model).preprocess)])[0]
    if not isinstance(calibration, np.ndarray):
        return calibration
    if calibration.ndim != 4 or calibration.dtype != np.float32 or not len(calibration):
        found = f"{calibration.dtype} of shape {list(calibration.shape)}"
        raise InputError(
            f"expected calibration images as a float32 array [n, c, h, w], found {found}. Prepare them as the model was trained"
        )
    return Arrays(calibration)
