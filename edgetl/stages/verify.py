"""verify: the files that ship and held-out images give the verdict. It judges; it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from edgetl.bundle.golden_check import check_golden
from edgetl.bundle.read import open_bundle
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact, Form
from edgetl.core.canonical import ADDED
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.admitted import Admitted, admit, labels_of
from edgetl.data.images import Images, Intake
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.pixel_cache import keeping
from edgetl.metrics.clusters import group_numbers
from edgetl.quantization.candidates.unsaturated import saturation_notes
from edgetl.report.baselines import read_baselines
from edgetl.report.bundled import confidence_of, embedded_of
from edgetl.report.folds import read_folds
from edgetl.report.frontier import read_frontier
from edgetl.report.judgement import Judgement, Outputs
from edgetl.report.kernel_times import kernels_report
from edgetl.report.predictions import GALLERY, LISTED_IMAGES, PREDICTIONS, REPORT, THUMBNAILS, Answers, Gallery
from edgetl.report.ruling import ruling
from edgetl.report.schema import DataReport, ImageCounts, LatencyReport, Models, Report, model_name
from edgetl.report.subjects import Subject as Subject
from edgetl.report.subjects import Subjects
from edgetl.report.text import golden_note
from edgetl.report.thumbnails import with_thumbnails
from edgetl.runtime.latency import Latency, drift_warning
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.outputs import require_finite
from edgetl.settings import Runtime, VerifySettings
from edgetl.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The report and its verdict."""

    report: FileArtifact
    verdict: Literal["certified", "passed", "undecided", "failed"]
    shipped: Form

    @property
    def folder(self) -> Path:
        """The folder with the evidence beside the report: `predictions.csv`, `gallery.json`, `thumbnails/`."""
        return self.report.path.parent


@dataclass(frozen=True, kw_only=True)
class Verify(Stage[Verdict]):
    """Run every graph on the test images under onnxruntime's CPU provider, and compare.

    `teacher` is what the shipped file is compared with: the pipeline's teacher, or a reference model of the user's. Without
    one, an int8 graph is compared with its float graph.
    """

    name: ClassVar[str] = "verify"
    version: ClassVar[int] = 12
    data: Images | NpzTensors
    data_name: str
    classes: tuple[str, ...]
    shipped: Form
    int8: Subject | None
    onnx_float: Subject | None
    teacher: Subject | None
    student: Checkpoint | None = None  # for the comparison of torch with its float ONNX
    bundle: BundleFolder | None = None
    seen: SeenImages | None = None  # by all models
    waived: str | None = field(default=None, metadata=ADDED)  # why images that were seen may judge
    unrecorded: tuple[str, ...] = field(default=(), metadata=ADDED)  # models of whose training there is no record
    preprocess: Preprocess | None = None  # for models that do not carry one
    counts: Mapping[str, int] | None = None  # images of the other parts, for the report
    baselines: FileArtifact | None = None  # of the teacher, on val, for the report
    folds: FileArtifact | None = field(default=None, metadata=ADDED)  # of the teacher's frozen features, for the report
    frontier: FileArtifact | None = field(default=None, metadata=ADDED)  # of the students that were tried, on val, for the report
    intake: Intake | None = None  # what was found on the way in, for the report
    order: str | None = None  # how the order of the classes was found, where no file says it
    others: tuple[str, ...] | None = None  # another order of the class names that is as likely
    groups: tuple[tuple[str, ...], ...] = field(default=(), metadata=ADDED)  # near-duplicates among the test images, by sha256
    names: FileArtifact | None = field(default=None, metadata=ADDED)  # of the int8 file's nodes -> the network's own, for the report
    alike: tuple[str, ...] = field(default=(), metadata=ADDED)  # test images that look like one in train or val, by sha256
    because: str | None = field(default=None, metadata=ADDED)  # why this form ships, for the report
    settings: VerifySettings = VerifySettings()
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Verdict:
        """Write `report.json`, `predictions.csv`, `gallery.json` and `thumbnails/`.

        Raises:
            InputError: test images that a model has seen, or labels beyond the classes.
        """
        with keeping(self.runtime):
            admitted = self._admitted()
            judged = _Judged(stage=self, data=admitted.data, admitted=admitted)
            report = judged.report()
            write_whole(out / REPORT, report.to_text())
            write_whole(out / PREDICTIONS, judged.answers.csv_text())
            write_whole(out / GALLERY, judged.gallery(out / THUMBNAILS).to_text())
        return Verdict(report=FileArtifact.of(out / REPORT), verdict=report.verdict, shipped=report.shipped)

    def _admitted(self) -> Admitted:
        """The test images, without those that a model has seen where the settings say so."""
        how = self.settings.seen_images
        subject = self.int8 or self.onnx_float
        prepared = (read_info(subject.path).preprocess if subject else None) or self.preprocess
        return admit(self.data, self.seen, how, waived=self.waived, unrecorded=self.unrecorded, alike=self.alike, preprocess=prepared)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One run of `Verify`: each graph is run once, when first asked for."""

    stage: Verify
    data: Images | NpzTensors | NpzRows
    admitted: Admitted

    def report(self) -> Report:
        stage, parity, wish = self.stage, self.judgement.parity(), self.judgement.wish()
        waived = self.admitted.reason if self.admitted.seen == "waived" else None
        ruled = ruling(self.judgement, parity, stage.others, wish, waived=waived)
        broken = [golden_note(problem) for problem in self.broken_vectors]
        counts = dict(stage.counts or {})
        return Report(
            task=self.judgement.task.name,
            metric=self.judgement.task.metric,
            bundle_sha256=stage.bundle.sha256 if stage.bundle else None,
            data=DataReport(
                name=stage.data_name,
                classes=stage.classes,
                images=ImageCounts(test=len(self.data), **{part: counts.get(part) for part in ("train", "val", "calibration")}),
                intake=asdict(stage.intake) if stage.intake else None,
                seen=self.admitted.seen,
                seen_reason=self.admitted.reason,
            ),
            models=self._models(),
            parity=parity,
            verdict="failed" if broken else ruled.verdict,
            shipped=stage.shipped,
            reasons=ruled.reasons or None,
            notes=(*ruled.reasons, *broken, *self._notes()) or None,
            baselines=read_baselines(stage.baselines.path) if stage.baselines else None,
            folds=read_folds(stage.folds.path) if stage.folds else None,
            frontier=read_frontier(stage.frontier.path) if stage.frontier else None,
            kernels=kernels_report(stage.int8.path, self.subjects.size("onnx_int8"), stage.names) if stage.int8 else None,
            faithful="failed" if broken else ruled.faithful,
            wish=wish,
            shipped_because=stage.because,
            confidence=confidence_of(stage.bundle, self.judgement),
            embedded=embedded_of(stage.bundle, self.data, self.judgement),
            c=open_bundle(stage.bundle.path).manifest.c if stage.bundle else None,
        )

    @cached_property
    def answers(self) -> Answers:
        """What every model said, image by image."""
        judgement, shipped = self.judgement, model_name(self.stage.shipped)
        files = [ref.where for ref in self.data.refs] if isinstance(self.data, Images) else None
        return Answers(
            task=judgement.task,
            hashes=self.data.hashes,
            files=files,
            labels=judgement.labels,
            outputs=judgement.outputs,
            shipped=shipped,
            meanings=judgement.meanings,
        )

    def gallery(self, folder: Path) -> Gallery:
        """The images to look at; where there are image files and thumbnails are wanted, with small pictures in `folder`."""
        wanted = self.stage.settings.thumbnails
        gallery, data = self.answers.gallery(wanted or LISTED_IMAGES), self.data
        if not isinstance(data, Images):
            return gallery
        rows = {sha: row for row, sha in enumerate(data.hashes)}
        return with_thumbnails(gallery, wanted, lambda sha: data.read(rows[sha]), folder)

    @cached_property
    def judgement(self) -> Judgement:
        """Labels and outputs, with the budgets they are judged by."""
        settings, labels, outputs = self.stage.settings, labels_of(self.data, self.stage.classes), self._outputs()
        return Judgement(
            task=Classification(classes=self.stage.classes),
            labels=labels,
            outputs=outputs,
            meanings={name: self.subjects.meaning(name) for name in self.subjects.named},
            shipped=self.stage.shipped,
            max_drop=settings.max_drop,
            max_int8_drop=settings.max_int8_drop,
            groups=group_numbers(self.data.hashes, self.stage.groups) if self.stage.groups else None,
            min_score=settings.min_score,
        )

    @cached_property
    def broken_vectors(self) -> list[str]:
        """The golden vectors of the bundle that do not hold on this machine."""
        return check_golden(open_bundle(self.stage.bundle.path)) if self.stage.bundle else []

    @cached_property
    def subjects(self) -> Subjects:
        stage = self.stage
        named = {"teacher": stage.teacher, "onnx_float": stage.onnx_float, "onnx_int8": stage.int8}
        return Subjects(
            named={name: subject for name, subject in named.items() if subject},
            classes=stage.classes,
            data=self.data,
            preprocess=stage.preprocess,
            batch_size=stage.settings.batch_size,
            threads=stage.runtime.threads,
        )

    def _outputs(self) -> dict[str, Outputs]:
        """Model name -> its outputs, finite [n, k]; `student` stands for the checkpoint under torch."""
        found = dict(self.subjects.outputs)
        if self.stage.student and self.stage.onnx_float:
            from edgetl.lowering.reference import torch_outputs

            tensors = self.subjects.tensors(self.stage.onnx_float.path)
            found["student"] = torch_outputs(self.stage.student.path, tensors.batches(self.stage.settings.batch_size))
            require_finite(found["student"], "the student's checkpoint")
        return found

    def _notes(self) -> list[str]:
        """Notes on the reading of classes and outputs, and on the effect of this CPU on the answers."""
        warning = drift_warning(self.latencies)
        saturated = saturation_notes({name: subject.path for name, subject in self.subjects.named.items()})
        return [*filter(None, [self.stage.order, self.stage.data.doubt]), *self.subjects.readings(), *saturated, *filter(None, [warning])]

    @cached_property
    def latencies(self) -> dict[str, Latency]:
        """Of each model, with what there is to say about it."""
        return self.subjects.latencies(self.stage.settings.latency_runs)

    def _models(self) -> Models:
        """The student's own scores are its checkpoint's; size and latency are its float ONNX's."""
        latency = {name: LatencyReport(**vars(found)) for name, found in self.latencies.items()}
        rows = {name: self.judgement.model(name, self.subjects.facts(name, latency[name])) for name in self.subjects.named}
        if "student" in self.judgement.outputs:
            rows["student"] = self.judgement.model("student", self.subjects.facts("onnx_float", latency["onnx_float"]))
        return Models(**rows)
