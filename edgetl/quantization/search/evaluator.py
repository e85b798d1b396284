"""A graph as an `Evaluation`: what it answers, what it weighs, how long it takes, all under onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.progress import say
from edgetl.metrics.choice import choose
from edgetl.metrics.clusters import Groups
from edgetl.metrics.parity import PairedDrop, agreement, paired_drop
from edgetl.metrics.recall import class_losses
from edgetl.quantization.candidates.trials import IMAGES_AT_ONCE
from edgetl.quantization.candidates.unsaturated import judged_outputs
from edgetl.quantization.search.search import Budget, Evaluation
from edgetl.runtime.answers import outputs_of
from edgetl.runtime.kernels import kernels
from edgetl.runtime.latency import drift_warning, measure_all
from edgetl.runtime.session import InputSource
from edgetl.tasks.classification import Classification

LATENCY_RUNS = 30
Labels: TypeAlias = NDArray[np.int64]
Right: TypeAlias = NDArray[np.bool_]


@dataclass
class CandidateEvaluator:
    """Judges graphs against the float model.

    Attributes:
        float_model: its file.
        source: images that judge; with labels, so does the drop.
        budget: how far it may go.
        finish: a graph -> what would be written of it.
        threads: of onnxruntime, for the answers; latency has one.
        groups: of near-duplicates in `source`, int64 [n]; None: none look alike.
    """

    float_model: Path
    source: InputSource
    budget: Budget
    finish: Callable[[onnx.ModelProto], onnx.ModelProto]
    threads: int
    groups: Groups | None = None

    def __call__(self, graph: onnx.ModelProto, floating: tuple[str, ...]) -> Evaluation:
        """The evaluation of a graph that leaves the layers `floating` in float."""
        wanted, labels = self._float_answers
        with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
            path = Path(folder) / "candidate.onnx"
            path.write_bytes(self.finish(graph).SerializeToString())
            found, _ = judged_outputs(path, self.source, batch_size=IMAGES_AT_ONCE, threads=self.threads)
            float_latency, latency = measure_all([self.float_model, path], LATENCY_RUNS, like=self._size)
            size = path.stat().st_size
        if self.budget.max_ms is not None and (warning := drift_warning({"float": float_latency, "candidate": latency})):
            say(f"quantize: {warning}")
        task, drop, lost = Classification(classes=()).reading(wanted), None, False
        if labels is not None:
            before, after = task.correct(wanted, labels), task.correct(found, labels)
            drop = paired_drop(before, after, groups=self.groups)
            lost = self.budget.max_drop is not None and self._lost(drop, labels, before, after, task.answers(wanted) != task.answers(found))
        return Evaluation(
            floating=floating,
            agreement=agreement(task.answers(wanted), task.answers(found)),
            drop=drop.drop if drop else None,
            lost=lost,
            size_bytes=size,
            ms=latency.p50,
            float_ms=float_latency.p50,
        )

    def _lost(self, drop: PairedDrop, labels: Labels, before: Right, after: Right, differ: Right) -> bool:
        """Whether float would ship (`metrics.choice`), and not for being asked for in case of doubt."""
        most = self.budget.max_drop or 0.0
        choice = choose(
            drop,
            most,
            differ=differ,
            groups=self.groups,
            class_lost=any(loss.shown for loss in class_losses(labels, before, after, most, groups=self.groups)),
            when_undecided=self.budget.when_undecided,
        )
        return not choice.int8 and choice.settled_by != "asked"

    @property
    def float_bytes(self) -> int:
        """The size of the float model."""
        return self.float_model.stat().st_size

    @cached_property
    def _size(self) -> tuple[int, ...]:
        """Of one input, [c, h, w]."""
        return next(iter(self.source.batches(1))).x.shape[1:]

    @cached_property
    def _float_answers(self) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        return outputs_of(self.float_model, self.source, batch_size=IMAGES_AT_ONCE, threads=self.threads)


def time_shares(model: onnx.ModelProto) -> dict[str, float]:
    """Name of each layer of a float graph -> its share of the time, as far as onnxruntime's fusions keep names."""
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(model.SerializeToString())
        return {kernel.name: kernel.share for kernel in kernels(path)}
