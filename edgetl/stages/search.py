"""search: students that were distilled for a short time, and a budget, give the one to distill in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from edgetl.core.artifacts import FileArtifact, Int8Model
from edgetl.core.canonical import ADDED
from edgetl.core.errors import InputError
from edgetl.core.files import write_json
from edgetl.core.progress import say
from edgetl.core.stage import Stage
from edgetl.report.frontier import Frontier, TooSlow, Tried
from edgetl.runtime.latency import drift_warning, measure_all
from edgetl.training.fit import standard_error

TIMED_RUNS = 50
KB = 1000


@dataclass(frozen=True, kw_only=True)
class StudentTrial:
    """A student: its name, input size, score on val, and its int8 file, calibrated and not tuned.

    Attributes:
        balanced: the mean recall of the classes on val, where they are unbalanced.
    """

    student: str
    image_size: int
    score: float
    int8: Int8Model
    balanced: float | None = field(default=None, metadata=ADDED)

    @property
    def choosing(self) -> float:
        """The score that chooses the student: what chooses its epoch (`training.progress.Evaluated`)."""
        return self.score if self.balanced is None else self.balanced


@dataclass(frozen=True, kw_only=True)
class TimedStudent:
    """A student whose network was measured with random weights: its name, input size in pixels, and what was measured.

    Attributes:
        measurement: the file that says it, for the key.
    """

    student: str
    image_size: int
    size_bytes: int = field(metadata={"key": False})
    latency_ms: float = field(metadata={"key": False})
    measurement: FileArtifact

    def row(self) -> TooSlow:
        """For the report."""
        return TooSlow(student=self.student, image_size=self.image_size, size_bytes=self.size_bytes, latency_ms=self.latency_ms)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The place of the student to take among the trials, and `frontier.json`; None: none keeps the budget."""

    taken: int | None
    frontier: FileArtifact


@dataclass(frozen=True, kw_only=True)
class Search(Stage[SearchResult]):
    """Measure the latency of the trials, once, and take the best of those that keep the budget."""

    name: ClassVar[str] = "search"
    version: ClassVar[int] = 3
    decides: ClassVar[bool] = True
    trials: tuple[StudentTrial, ...]
    images: int  # of val
    max_kb: float | None
    max_ms: float | None
    worth: float | None = field(default=None, metadata=ADDED)  # effective number of images of val; None: as many as there are
    slow: tuple[TimedStudent, ...] = field(default=(), metadata=ADDED)  # students that were not distilled, for the report

    def run(self, out: Path) -> SearchResult:
        """Write `frontier.json`."""
        sizes = [trial.int8.path.stat().st_size for trial in self.trials]
        measured = measure_all([trial.int8.path for trial in self.trials], TIMED_RUNS)
        times = [latency.p50 for latency in measured]
        if warning := drift_warning({trial.student: latency for trial, latency in zip(self.trials, measured, strict=True)}):
            say(f"search: {warning}")
        fits = [self._fits(size, time) for size, time in zip(sizes, times, strict=True)]
        taken = best(self.trials, sizes, fits)
        tried = tuple(
            Tried(
                student=trial.student,
                image_size=trial.image_size,
                score=trial.score,
                size_bytes=sizes[i],
                latency_ms=times[i],
                moved=measured[i].moved,
                balanced=trial.balanced,
                fits=fits[i],
                taken=i == taken,
            )
            for i, trial in enumerate(self.trials)
        )
        found = Frontier(
            part="val",
            images=self.images,
            standard_error=standard_error(max(trial.choosing for trial in self.trials), self.worth or self.images),
            max_bytes=None if self.max_kb is None else round(self.max_kb * KB),
            max_ms=self.max_ms,
            tried=tried,
            too_slow=tuple(each.row() for each in self.slow) or None,
        )
        written = {key: value for key, value in asdict(found).items() if (key, value) != ("too_slow", None)}
        write_json(path := out / "frontier.json", written)
        return SearchResult(taken=taken, frontier=FileArtifact.of(path))

    def _fits(self, size_bytes: int, latency_ms: float) -> bool:
        return (self.max_kb is None or size_bytes <= self.max_kb * KB) and (self.max_ms is None or latency_ms <= self.max_ms)


def best(trials: Sequence[StudentTrial], sizes: Sequence[int], fits: Sequence[bool]) -> int | None:
    """The highest score among those that fit; of equals the largest file."""
    fitting = [i for i in range(len(trials)) if fits[i]]
    return max(fitting, key=lambda i: (trials[i].choosing, sizes[i]), default=None)


def budget_refusal(rows: Sequence[Tried | TooSlow], max_kb: float | None, max_ms: float | None, *, named: bool = False) -> InputError:
    """The message for a budget that nothing keeps: what was asked for, and the least that could be had; `named`: of a student by name."""
    asked = " and ".join(f"{value:g} {unit}" for value, unit in ((max_kb, "kB"), (max_ms, "ms")) if value is not None)
    smallest, quickest = min(rows, key=lambda row: row.size_bytes), min(rows, key=lambda row: row.latency_ms)
    return InputError(
        f"expected a budget that a student can meet, found {asked}: the smallest student that was tried, {smallest.student}, takes "
        f"{smallest.size_bytes / KB:.0f} kB, the fastest, {quickest.student}, {quickest.latency_ms:.2f} ms. Allow more with --max-kb or "
        f"--max-ms{', or leave out --student' if named else ''}"
    )
