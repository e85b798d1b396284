"""verify: the files that ship and held-out images give the verdict. It judges; it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.golden import check_golden
from edgetl.bundle.read import open_bundle
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact
from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.images import Images, Intake
from edgetl.data.kept import keeping
from edgetl.data.npz import NpzTensors
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.metrics.classification import confusion, macro_f1, per_class
from edgetl.metrics.parity import PairedDrop, agreement, images_needed, paired_drop, sqnr_db, verdict, wilson
from edgetl.report.schema import (
    ClassScores,
    DataReport,
    DropParity,
    ExportParity,
    ImageCounts,
    Int8Parity,
    Latency,
    ModelReport,
    Models,
    Parity,
    Report,
)
from edgetl.runtime.latency import measure_all
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import outputs_of
from edgetl.runtime.size import parameter_count
from edgetl.settings import Runtime, VerifySettings
from edgetl.tasks.classification import Classification

Outputs = NDArray[np.float32]
METHOD = "score interval for paired proportions (Tango 1998, Statistics in Medicine 17:891-908)"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The certificate and what it says."""

    report: FileArtifact
    verdict: Literal["certified", "passed", "failed"]
    shipped: Literal["int8", "float"]


@dataclass(frozen=True, kw_only=True)
class Subject(FileArtifact):
    """One ONNX file to judge, and the name of its architecture for people."""

    arch: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verify(Stage[Verdict]):
    """Run every graph on the test images under onnxruntime's CPU provider, and compare.

    `teacher` is what the shipped file is compared with: the pipeline's teacher, or a reference model of the user's. Without
    one, an int8 graph is compared with its float graph.
    """

    name: ClassVar[str] = "verify"
    version: ClassVar[int] = 2
    data: Images | NpzTensors
    data_name: str
    classes: tuple[str, ...]
    shipped: Literal["int8", "float"]
    int8: Subject | None
    onnx_float: Subject | None
    teacher: Subject | None
    student: Checkpoint | None = None  # for the comparison of torch with its float ONNX
    bundle: BundleFolder | None = None
    seen: SeenImages | None = None
    preprocess: Preprocess | None = None  # for models that do not carry one
    counts: Mapping[str, int] | None = None  # images of the other parts, for the report
    intake: Intake | None = None  # what was found on the way in, for the report
    settings: VerifySettings = VerifySettings()
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Verdict:
        """Write `report.json`.

        Raises:
            InputError: test images that a model has seen, or labels beyond the classes.
        """
        data = self._unseen()
        with keeping(self.runtime):
            report = _Judged(stage=self, data=data).report()
        path = out / "report.json"
        path.write_text(report.to_text(), encoding="utf-8", newline="\n")
        assert report.shipped != "mixed"
        return Verdict(report=FileArtifact.of(path), verdict=report.verdict, shipped=report.shipped)

    def against(self, reference: Subject) -> Verify:
        """The same, compared with `reference`."""
        return replace(self, teacher=reference)

    def _unseen(self) -> Images | NpzTensors:
        """The test images, without those that a model has seen where the settings say so."""
        if self.seen is None:
            return self.data
        found = {sha: part for sha in self.data.hashes if (part := self.seen.part_of(sha))}
        if not found:
            return self.data
        if self.settings.seen_images == "refuse" or not isinstance(self.data, Images):
            rows = [f"{place} ({found[sha]})" for place, sha in places(self.data) if sha in found]
            raise InputError(
                f"expected test images that the model has not seen, found {len(found)} of {len(self.data)} "
                f"that it was trained, selected or calibrated on:\n"
                f"{listing(rows, 8)}\nTake them out, or let them be dropped with --seen-images drop"
            )
        say(f"verify: {len(found)} images dropped, the model has seen them")
        kept = replace(self.data, refs=tuple(ref for ref in self.data.refs if ref.sha256 not in found))
        if not len(kept):
            raise InputError("expected test images that the model has not seen, found none: it has seen all of them. Give other images")
        return kept


def places(data: Images | NpzTensors) -> list[tuple[str, str]]:
    """Where each sample lies, for people, and its sha256."""
    if isinstance(data, Images):
        return sorted((ref.where, ref.sha256) for ref in data.refs)
    return [(f"row {row}", sha) for row, sha in enumerate(data.hashes)]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One run of `Verify`: each graph's outputs are computed once, when first asked for."""

    stage: Verify
    data: Images | NpzTensors

    def report(self) -> Report:
        stage, parity = self.stage, self._parity()
        counts = dict(stage.counts or {})
        return Report(
            task=self.task.name,
            metric=self.task.metric,
            bundle_sha256=stage.bundle.sha256 if stage.bundle else None,
            data=DataReport(
                name=stage.data_name,
                classes=stage.classes,
                images=ImageCounts(
                    train=counts.get("train"), val=counts.get("val"), test=len(self.data), calibration=counts.get("calibration")
                ),
                intake=asdict(stage.intake) if stage.intake else None,
            ),
            models=self._models(),
            parity=parity,
            verdict="failed" if self.broken_vectors else self._verdict(parity),
            shipped=stage.shipped,
            notes=tuple(f"golden vectors: {problem}" for problem in self.broken_vectors) or None,
        )

    @cached_property
    def broken_vectors(self) -> list[str]:
        """What the bundle's golden vectors say is wrong, on this machine."""
        return check_golden(open_bundle(self.stage.bundle.path)) if self.stage.bundle else []

    @cached_property
    def task(self) -> Classification:
        return Classification(classes=self.stage.classes)

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        stage = self.stage
        named = {"teacher": stage.teacher, "onnx_float": stage.onnx_float, "onnx_int8": stage.int8}
        return {name: subject for name, subject in named.items() if subject}

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        labels = self.data.labels
        if labels is None:
            raise InputError("expected labelled test images, found an .npz without `y`. Add the labels (int) as `y`")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.stage.classes):
            raise InputError(
                f"expected labels 0 to {len(self.stage.classes) - 1}, found {labels.min()} to {labels.max()}. "
                "Give images of the model's classes"
            )
        return np.asarray(labels)

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """Model name -> logits [n, k]."""
        size = self.stage.settings.batch_size
        return {name: outputs_of(s.path, self._tensors(s.path), batch_size=size)[0] for name, s in self.subjects.items()}

    def _tensors(self, path: Path) -> TensorSource:
        """The test images as that model wants them."""
        if not isinstance(self.data, Images):
            return self.data
        preprocess = read_info(path).preprocess or self.stage.preprocess
        if preprocess is None:
            raise InputError(
                f"expected {path} to say how images are prepared, found no Preprocess in it. Give one with --preprocess FILE|imagenet"
            )
        return ImageTensors(images=self.data, preprocess=preprocess)

    def _models(self) -> Models:
        """The student's own scores are its checkpoint's; size and latency are its float ONNX's."""
        runs = self.stage.settings.latency_runs
        names = list(self.subjects)
        timed = dict(zip(names, measure_all([self.subjects[name].path for name in names], runs), strict=True))
        rows = {name: self._model(name, self.outputs[name], Latency(**vars(timed[name]))) for name in self.subjects}
        if self.stage.student and "onnx_float" in self.subjects:
            rows["student"] = self._model("onnx_float", self.student_outputs, Latency(**vars(timed["onnx_float"])))
        return Models(**rows)

    def _model(self, name: str, outputs: Outputs, latency: Latency) -> ModelReport:
        subject, task = self.subjects[name], self.task
        matrix = confusion(self.labels, task.answers(outputs), len(self.stage.classes))
        right = int(task.correct(outputs, self.labels).sum())
        low, high = wilson(right, len(self.labels))
        return ModelReport(
            arch=subject.arch,
            params=parameter_count(self.subjects.get("onnx_float", subject).path if name == "onnx_int8" else subject.path),
            size_bytes=subject.path.stat().st_size,
            score=task.score(outputs, self.labels),
            score_ci95=(low, high),
            metrics={task.metric: task.score(outputs, self.labels), "macro_f1": macro_f1(matrix)},
            latency_ms=latency,
            per_class=tuple(ClassScores(name=c, **vars(row)) for c, row in zip(self.stage.classes, per_class(matrix), strict=True)),
            confusion=tuple(tuple(int(cell) for cell in row) for row in matrix),
        )

    @cached_property
    def student_outputs(self) -> Outputs:
        """What the checkpoint answers under torch, logits [n, k]."""
        from edgetl.lowering.reference import torch_outputs

        assert self.stage.student and self.stage.onnx_float
        source = self._tensors(self.stage.onnx_float.path)
        return torch_outputs(self.stage.student.path, source.batches(self.stage.settings.batch_size))

    def _parity(self) -> Parity:
        return Parity(export=self._export_parity(), int8=self._int8_parity(), end_to_end=self._end_to_end())

    def _export_parity(self) -> ExportParity | None:
        """Passed if no output differs by more than a thousandth of the largest one."""
        if not (self.stage.student and self.stage.onnx_float):
            return None
        torch_out, onnx_out = self.student_outputs, self.outputs["onnx_float"]
        difference = float(np.abs(torch_out - onnx_out).max())
        return ExportParity(
            images=len(self.labels),
            agreement=agreement(self.task.answers(torch_out), self.task.answers(onnx_out)),
            max_abs_diff=difference,
            passed=difference <= 1e-3 * max(1.0, float(np.abs(torch_out).max())),
        )

    def _int8_parity(self) -> Int8Parity | None:
        if not (self.stage.int8 and self.stage.onnx_float):
            return None
        sqnr = sqnr_db(self.outputs["onnx_float"], self.outputs["onnx_int8"])
        base = self._drop_parity("onnx_float", "onnx_int8", self.stage.settings.max_int8_drop)
        return Int8Parity(**vars(base), sqnr_db=sqnr if np.isfinite(sqnr) else None)

    def _end_to_end(self) -> DropParity | None:
        shipped = f"onnx_{self.stage.shipped}"
        reference = "teacher" if "teacher" in self.subjects else "onnx_float"
        if reference == shipped or not {reference, shipped} <= self.subjects.keys():
            return None
        return self._drop_parity(reference, shipped, self.stage.settings.max_drop)

    def _drop_parity(self, reference: str, candidate: str, budget: float) -> DropParity:
        task, before, after = self.task, self.outputs[reference], self.outputs[candidate]
        drop: PairedDrop = paired_drop(task.correct(before, self.labels), task.correct(after, self.labels))
        found = verdict(drop, budget)
        return DropParity(
            images=len(self.labels),
            agreement=agreement(task.answers(before), task.answers(after)),
            drop=drop.drop,
            drop_ci95=(drop.low, drop.high),
            max_drop=budget,
            verdict=found,
            method=METHOD,
            images_needed=images_needed(drop, budget) if found == "passed" else None,
        )

    def _verdict(self, parity: Parity) -> Literal["certified", "passed", "failed"]:
        """The end-to-end verdict, unless the export itself went wrong."""
        if parity.export and not parity.export.passed:
            return "failed"
        if parity.end_to_end is None:
            raise InputError("expected two models to compare, found one. Give the other with --reference MODEL")
        return parity.end_to_end.verdict
