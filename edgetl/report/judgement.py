"""From labels and every model's outputs to the numbers of `report.json`. No files, no sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.core.artifacts import Form
from edgetl.core.errors import InputError
from edgetl.metrics.classification import confusion, macro_f1, per_class
from edgetl.metrics.clusters import Groups, design_effect
from edgetl.metrics.parity import PairedDrop, agreement, images_needed, paired_drop, share_interval, sqnr_db, standing, verdict
from edgetl.metrics.recall import ClassLoss, class_losses
from edgetl.report.schema import (
    ClassScores,
    DropParity,
    ExportParity,
    Int8Parity,
    LatencyReport,
    LostClass,
    ModelReport,
    Parity,
    Wish,
    model_name,
)
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Meaning

Outputs = NDArray[np.float32]
METHOD = "score interval for paired proportions (Tango 1998, Statistics in Medicine 17:891-908)"
BY_GROUP = ", at the effective number of images where near-duplicates come in groups (Rao & Scott 1992, Biometrics 48:577-585)"


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Properties of a model file; the names are those of `ModelReport`."""

    arch: str | None
    params: int | None
    size_bytes: int
    latency_ms: LatencyReport | None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Every model's outputs on the same images.

    Attributes:
        labels: int64 [n], the true classes.
        outputs: model name (those of `report.json`) -> what it gives, [n, k]; `student` is what its checkpoint gives under torch.
        meanings: of these; logits where it is not said.
        shipped: which of the two graphs ships.
        max_drop: budget of what ships against the teacher, a fraction; `max_int8_drop` that of int8 against float.
        groups: int64 [n], images of one number are near-duplicates; None: all are independent.
        min_score: what is wished of what ships, a fraction.
    """

    task: Classification
    labels: NDArray[np.int64]
    outputs: Mapping[str, Outputs]
    shipped: Form
    max_drop: float
    max_int8_drop: float
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    groups: Groups | None = None
    min_score: float | None = None

    def task_of(self, name: str) -> Classification:
        """The task, with the meaning of that model's outputs."""
        return self.task.of_model(name, self.meanings)

    def answers(self, name: str) -> NDArray[np.int64]:
        """That model's answer to each image, int64 [n]."""
        return self.task_of(name).answers(self.outputs[name])

    def correct(self, name: str) -> NDArray[np.bool_]:
        """Whether that model's answer to each image is right, bool [n]."""
        return self.task_of(name).correct(self.outputs[name], self.labels)

    def matrix(self, name: str) -> NDArray[np.int64]:
        """That model's confusion matrix [k, k]."""
        return confusion(self.labels, self.answers(name), len(self.task.classes))

    def model(self, name: str, facts: FileFacts) -> ModelReport:
        """The scores of one model."""
        task, matrix, right = self.task, self.matrix(name), int(self.correct(name).sum())
        score = right / len(self.labels)
        return ModelReport(
            **vars(facts),
            score=score,
            score_ci95=share_interval(self.correct(name), self.groups),
            metrics={task.metric: score, "macro_f1": macro_f1(matrix)},
            per_class=tuple(ClassScores(name=c, **vars(row)) for c, row in zip(task.classes, per_class(matrix), strict=True)),
            confusion=tuple(tuple(int(cell) for cell in row) for row in matrix),
        )

    def effect(self, name: str) -> float:
        """The design effect of that model's right answers."""
        return design_effect(self.correct(name), self.groups)

    def wish(self) -> Wish | None:
        """Whether the shipped model has the required score, by the whole interval; None if none is required."""
        if self.min_score is None:
            return None
        right = self.correct(model_name(self.shipped))
        low, high = share_interval(right, self.groups)
        found: Literal["met", "missed", "undecided"] = (
            "met" if low >= self.min_score else "missed" if high < self.min_score else "undecided"
        )
        return Wish(min_score=self.min_score, score=float(right.mean()), score_ci95=(low, high), standing=found)

    def parity(self) -> Parity:
        """The three comparisons, or those whose models are there."""
        return Parity(export=self._export(), int8=self._int8(), end_to_end=self._end_to_end())

    @property
    def sides(self) -> tuple[str, str]:
        """Reference and candidate of the verdict.

        Raises:
            InputError: there is nothing to compare what ships with.
        """
        shipped = model_name(self.shipped)
        reference = "teacher" if "teacher" in self.outputs else "onnx_float"
        if reference == shipped or not {reference, shipped} <= self.outputs.keys():
            raise InputError("expected two models to compare, found one. Give the model to compare with: --reference MODEL")
        return reference, shipped

    def _export(self) -> ExportParity | None:
        """Passed if no output differs by more than a thousandth of the largest one."""
        if not {"student", "onnx_float"} <= self.outputs.keys():
            return None
        torch_out, onnx_out = self.outputs["student"], self.outputs["onnx_float"]
        difference = float(np.abs(torch_out - onnx_out).max())
        return ExportParity(
            images=len(self.labels),
            agreement=agreement(self.answers("student"), self.answers("onnx_float")),
            max_abs_diff=difference,
            passed=difference <= 1e-3 * max(1.0, float(np.abs(torch_out).max())),
        )

    def _int8(self) -> Int8Parity | None:
        if not {"onnx_int8", "onnx_float"} <= self.outputs.keys():
            return None
        sqnr = sqnr_db(self.outputs["onnx_float"], self.outputs["onnx_int8"])
        base = self._drop("onnx_float", "onnx_int8", self.max_int8_drop)
        return Int8Parity(**vars(base), sqnr_db=sqnr if np.isfinite(sqnr) else None)

    def _end_to_end(self) -> DropParity | None:
        try:
            return self._drop(*self.sides, self.max_drop)
        except InputError:
            return None

    def _drop(self, reference: str, candidate: str, budget: float) -> DropParity:
        before, after = self.correct(reference), self.correct(candidate)
        drop: PairedDrop = paired_drop(before, after, groups=self.groups)
        found, lost = verdict(drop, budget), class_losses(self.labels, before, after, budget, groups=self.groups)
        return DropParity(
            images=len(self.labels),
            agreement=agreement(self.answers(reference), self.answers(candidate)),
            drop=drop.drop,
            drop_ci95=(drop.low, drop.high),
            max_drop=budget,
            verdict=found,
            method=METHOD + BY_GROUP if drop.design_effect > 1 else METHOD,
            standing=standing(drop.low, drop.high, budget),
            lost=drop.lost,
            gained=drop.gained,
            effective_images=drop.effective_images if drop.design_effect > 1 else None,
            images_needed=images_needed(drop, budget) if found == "passed" else None,
            lost_classes=tuple(self._named(loss) for loss in lost) or None,
        )

    def _named(self, loss: ClassLoss) -> LostClass:
        return LostClass(name=self.task.classes[loss.label], images=loss.images, before=loss.before, after=loss.after, shown=loss.shown)
