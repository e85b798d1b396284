"""Trials of the methods: a graph is kept if it is better on calibration images that nothing was fitted on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.machine import return_freed_memory
from edgetl.core.progress import detail, say
from edgetl.metrics.parity import agreement, relative_noise
from edgetl.quantization.candidates.unsaturated import graph_to_judge
from edgetl.quantization.graph.layers import UnknownOperator
from edgetl.quantization.observe.split_for_judging import FEWEST_TO_CHOOSE
from edgetl.runtime.loading import brief
from edgetl.runtime.session import InputSource, open_graph
from edgetl.tasks.classification import Classification

IMAGES_AT_ONCE = 4  # images that answer: 16 of 224 px are 150 MB more
TOO_MUCH = "too much work for what it is worth by default (--time-limit SECONDS goes by the clock instead)"
NO_TORCH = "torch is not installed"
TOO_LATE = "the time limit leaves no time for it"
TOO_FEW = f"fewer than {FEWEST_TO_CHOOSE} calibration images: none can be spared to choose by"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method, judged on the calibration images that choose. The figures of the method that was chosen are too good.

    Attributes:
        name: of the method.
        sqnr_db: of the logits against the float model's, images weighed alike (see `decibels`); None where they are equal.
        agreement: share of images with the same answer.
        kept: whether it is the best so far.
        seconds: the time it took, without judging it.
        why_not: why it could not be tried.
        judged: whether it was judged; with too few images only the first method is tried.
    """

    name: str
    sqnr_db: float | None = None
    agreement: float | None = None
    kept: bool = False
    seconds: float = 0.0
    why_not: str | None = None
    judged: bool = True

    @staticmethod
    def of(name: str, wanted: NDArray[np.float32], found: NDArray[np.float32], *, sqnr_db: float, kept: bool, seconds: float) -> Trial:
        """From the outputs of the float graph and of the method's graph, float32 [n, k] each, and their `decibels`."""
        task = Classification(classes=()).reading(wanted)
        return Trial(
            name=name,
            sqnr_db=sqnr_db if np.isfinite(sqnr_db) else None,
            agreement=agreement(task.answers(wanted), task.answers(found)),
            kept=kept,
            seconds=round(seconds, 2),
        )

    def line(self) -> str:
        """For people."""
        if self.why_not:
            return f"{self.name}: not tried, {self.why_not}"
        if not self.judged:
            return f"{self.name}, {self.seconds:.0f} s: the only method that is tried"
        noise = "no noise" if self.sqnr_db is None else f"SQNR {self.sqnr_db:.1f} dB"
        kept = "" if self.kept else "; not kept"
        return f"{self.name}, {self.seconds:.0f} s: {noise}, {self.agreement:.1%} of the answers are those of float{kept}"


class NotTried(Exception):
    """A method is not tried; the message gives the reason."""


def in_torch(step: Callable[[], T]) -> T:
    """Run `step`, which imports torch, and return its result.

    Raises:
        NotTried: torch is not installed, or cannot run the graph, or has no gradient for one of its operators.
    """
    return_freed_memory()  # these steps set the peak
    try:
        return step()
    except ImportError as error:
        raise NotTried(f"{NO_TORCH} ({error})") from error
    except UnknownOperator as error:
        raise NotTried(f"no gradient of the operator {error} here") from error
    except RuntimeError as error:  # sizes that hold for one batch only, say
        raise NotTried(f"torch cannot run the graph: {brief(error)}") from error


class Trials:
    """The best graph so far, by the noise of its logits on the images `choosing`. Without such images, the first graph stays."""

    def __init__(self, prepared: onnx.ModelProto, choosing: InputSource | None, threads: int) -> None:
        self.choosing, self.threads = choosing, threads
        self.log: list[Trial] = []
        self.wanted = None if choosing is None else answers(prepared, choosing, threads)
        self.best, self.made = prepared, False
        self.best_db = -np.inf

    def run(self, name: str, make: Callable[[], onnx.ModelProto]) -> None:
        """Make a graph and judge it. If it cannot be made, log the reason."""
        if self.choosing is None and self.made:
            self.note(Trial(name=name, why_not=TOO_FEW))
            return
        begin = time.perf_counter()
        try:
            made = make()
        except NotTried as error:
            self.note(Trial(name=name, why_not=str(error)))
            return
        seconds = time.perf_counter() - begin
        self.made = True
        if self.choosing is None or self.wanted is None:
            self.best = made
            self.note(Trial(name=name, kept=True, seconds=round(seconds, 2), judged=False))
            return
        found = answers(made, self.choosing, self.threads)
        sqnr_db = decibels(self.wanted, found)
        kept = sqnr_db > self.best_db
        self.note(Trial.of(name, self.wanted, found, sqnr_db=sqnr_db, kept=kept, seconds=seconds))
        if kept:
            self.best, self.best_db = made, sqnr_db

    def note(self, trial: Trial) -> None:
        """Log a trial."""
        self.log.append(trial)
        show = say if (trial.why_not or "").startswith(NO_TORCH) else detail  # which the user can change
        show(f"quantize: {trial.line()}")


def answers(model: onnx.ModelProto, source: InputSource, threads: int) -> NDArray[np.float32]:
    """The outputs of a graph under onnxruntime, computed without saturation, float32 [n, k]."""
    session = open_graph(graph_to_judge(model), threads=threads)
    return np.concatenate([session.run(batch.x) for batch in source.batches(IMAGES_AT_ONCE)])


def decibels(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Signal to quantization noise of logits [n, k], in dB: that of the images' mean relative noise, infinite without any.

    In the sum of squares of all images, a few with logits far beyond the others' decide alone (EfficientNet: docs/log.md).
    """
    noise = float(relative_noise(wanted, found).mean())
    return -10 * math.log10(noise) if noise > 0 else math.inf
