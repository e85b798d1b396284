"""`report.json`: the certificate, as frozen values. Fields may be added, never renamed.

A field without a default is always written; one whose default is None is left out where it is None, so that a
standalone `verify` shows what it was given and no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from edgetl.cgen.footprint import Footprint
from edgetl.core.artifacts import Form
from edgetl.core.errors import InputError, listing
from edgetl.metrics.parity import VerdictWord as VerdictWord
from edgetl.metrics.parity import verdict_of
from edgetl.report.baselines import Baselines
from edgetl.report.comparisons import DropParity as DropParity
from edgetl.report.comparisons import ExportParity as ExportParity
from edgetl.report.comparisons import Int8Parity as Int8Parity
from edgetl.report.comparisons import LostClass as LostClass
from edgetl.report.comparisons import Parity as Parity
from edgetl.report.comparisons import Wish as Wish
from edgetl.report.confidence import ConfidenceReport
from edgetl.report.embedded import Embedded
from edgetl.report.folds import Folds
from edgetl.report.frontier import Frontier
from edgetl.report.judged import DataReport as DataReport
from edgetl.report.judged import ImageCounts as ImageCounts
from edgetl.report.kernels import KernelsReport
from edgetl.report.numbers import Count, Exact, Finite, Share, plain
from edgetl.report.timing import LatencyReport as LatencyReport

SCHEMA = 1
MODEL_NAMES = ("teacher", "student", "onnx_float", "onnx_int8")

RANK: Mapping[VerdictWord, int] = {"failed": 0, "undecided": 1, "passed": 2, "certified": 3}


def model_name(form: Form) -> str:
    """The key in `models` of the shipped model; a mixed graph has the key of the int8 graph."""
    return "onnx_float" if form == "float" else "onnx_int8"


@dataclass(frozen=True, kw_only=True)
class ClassScores(Exact):
    """One class, against all others; `support` is the number of its test images."""

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


@dataclass(frozen=True, kw_only=True)
class ModelReport(Exact):
    """One model on the test images.

    Attributes:
        params: number of trained numbers, where known.
        size_bytes: of the ONNX file (for teacher and student: of their float ONNX).
        score: the task's primary metric, a fraction; `score_ci95` its interval.
        confusion: [true class][answer] -> images, in the order of `data.classes`.
    """

    arch: str | None
    params: Count | None
    size_bytes: Count
    score: Share
    score_ci95: tuple[Share, Share]
    metrics: Mapping[str, Finite]
    latency_ms: LatencyReport | None
    per_class: tuple[ClassScores, ...] | None = None
    confusion: tuple[tuple[Count, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Models(Exact):
    """The models that were compared, or those that were given."""

    teacher: ModelReport | None = None
    student: ModelReport | None = None
    onnx_float: ModelReport | None = None
    onnx_int8: ModelReport | None = None


@dataclass(frozen=True, kw_only=True)
class Report(Exact):
    """The whole of `report.json`.

    Attributes:
        reasons: why the verdict is less than the comparison of the scores alone would give; sentences.
        notes: what else a reader must know, and the reasons again.
        faithful: the verdict on what ships as a copy of the reference, whatever score is wished for.
        wish: the score that was asked for.
        shipped_because: why int8, or float, ships; a sentence.
        confidence: the bundle's temperature and threshold on the test images.
        embedded: the bundle's graphs that take pixels, on the test images.
        c: bytes of flash and RAM that the bundle's C code takes.
    """

    schema: Literal[1] = 1
    task: str
    metric: str
    bundle_sha256: str | None
    data: DataReport
    models: Models
    parity: Parity
    verdict: VerdictWord
    shipped: Form
    reasons: tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None
    baselines: Baselines | None = None
    folds: Folds | None = None
    frontier: Frontier | None = None
    kernels: KernelsReport | None = None
    faithful: VerdictWord | None = None
    wish: Wish | None = None
    shipped_because: str | None = None
    confidence: ConfidenceReport | None = None
    embedded: Embedded | None = None
    c: Footprint | None = None

    def to_json(self) -> dict[str, object]:
        """Plain JSON types, in the order of the schema."""
        written = plain(self)
        assert isinstance(written, dict)
        return written

    def to_text(self) -> str:
        """The text of `report.json`."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def read_report(report: Mapping[str, object]) -> Report:
    """The plain JSON types of `report.json` as a `Report`.

    Raises:
        InputError: keys that are missing or unknown, values out of range, parts that contradict each other; all named.
    """
    try:
        read = _adapter().validate_json(json.dumps(report, allow_nan=False), strict=True)
    except ValidationError as error:
        raise _refusal([f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]) from None
    except (TypeError, ValueError) as error:
        raise _refusal([str(error)]) from error
    if wrong := _contradictions(read):
        raise _refusal(wrong)
    return read


def _refusal(problems: list[str]) -> InputError:
    return InputError(f"expected a report.json of schema {SCHEMA}, found:\n{listing(problems)}")


def _contradictions(report: Report) -> list[str]:
    wrong = []
    for name in MODEL_NAMES:
        if model := getattr(report.models, name):
            wrong += [f"models.{name}.{problem}" for problem in _model_problems(model, report)]
    for name in ("int8", "end_to_end"):
        if parity := getattr(report.parity, name):
            wrong += [f"parity.{name}.{problem}" for problem in _parity_problems(parity)]
    final = report.parity.end_to_end
    if final and RANK[report.verdict] > RANK[final.verdict]:
        wrong.append(f"verdict: {report.verdict}, better than parity.end_to_end.verdict, {final.verdict}")
    return wrong


def _model_problems(model: ModelReport, report: Report) -> list[str]:
    wrong, classes = [], report.data.classes
    if not _ordered(model.score_ci95, model.score):
        wrong.append(f"score_ci95: {list(model.score_ci95)} does not hold the score, {model.score}")
    if model.latency_ms and model.latency_ms.p50 > model.latency_ms.p90:
        wrong.append("latency_ms: p50 is above p90")
    if model.per_class is not None and tuple(row.name for row in model.per_class) != classes:
        wrong.append("per_class: not one row for each of data.classes, in order")
    if model.confusion is not None:
        if any(len(row) != len(classes) for row in (model.confusion, *model.confusion)):
            wrong.append(f"confusion: expected {len(classes)} rows of {len(classes)} numbers")
        elif (count := sum(map(sum, model.confusion))) != report.data.images.test:
            wrong.append(f"confusion: holds {count} images, data.images.test says {report.data.images.test}")
    return wrong


def _parity_problems(parity: DropParity) -> list[str]:
    wrong = []
    if not _ordered(parity.drop_ci95, parity.drop):
        wrong.append(f"drop_ci95: {list(parity.drop_ci95)} does not hold the drop, {parity.drop}")
    expected = verdict_of(parity.drop, *parity.drop_ci95, parity.max_drop)
    before = parity.standing is None and (parity.verdict, expected) == (
        "failed",
        "undecided",
    )  # as reports said before there was a standing
    if expected != parity.verdict and not before:
        wrong.append(f"verdict: {parity.verdict}, but the numbers say {expected}")
    return wrong


def _ordered(interval: tuple[float, float], value: float) -> bool:
    return interval[0] - 1e-9 <= value <= interval[1] + 1e-9
