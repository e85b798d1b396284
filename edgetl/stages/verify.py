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
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact, Form
from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.images import Images, Intake
from edgetl.data.kept import keeping
from edgetl.data.npz import NpzTensors
from edgetl.data.suited import refuse_other_inputs
from edgetl.data.survey import deepened, tell_depth
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.quantization.exact import judged_outputs, made_for_others, saturation_notes
from edgetl.report.baselines import read_baselines
from edgetl.report.judgement import FileFacts, Judgement, Outputs
from edgetl.report.kernels import KernelReport, KernelsReport
from edgetl.report.predictions import GALLERY, LISTED, PREDICTIONS, REPORT, THUMBNAILS, Answers, Gallery
from edgetl.report.schema import DataReport, ImageCounts, Latency, Models, Report, model_name
from edgetl.report.text import golden_note
from edgetl.report.thumbnails import with_thumbnails
from edgetl.runtime.kernels import kernels, placement
from edgetl.runtime.latency import measure_all
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import outputs_of
from edgetl.runtime.size import parameter_count
from edgetl.settings import Runtime, VerifySettings
from edgetl.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The certificate and what it says."""

    report: FileArtifact
    verdict: Literal["certified", "passed", "failed"]
    shipped: Form

    @property
    def folder(self) -> Path:
        """Where the evidence lies beside the report: `predictions.csv`, `gallery.json`, `thumbnails/`."""
        return self.report.path.parent


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
    version: ClassVar[int] = 4
    data: Images | NpzTensors
    data_name: str
    classes: tuple[str, ...]
    shipped: Form
    int8: Subject | None
    onnx_float: Subject | None
    teacher: Subject | None
    student: Checkpoint | None = None  # for the comparison of torch with its float ONNX
    bundle: BundleFolder | None = None
    seen: SeenImages | None = None
    preprocess: Preprocess | None = None  # for models that do not carry one
    counts: Mapping[str, int] | None = None  # images of the other parts, for the report
    baselines: FileArtifact | None = None  # of the teacher, on val, for the report
    intake: Intake | None = None  # what was found on the way in, for the report
    settings: VerifySettings = VerifySettings()
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Verdict:
        """Write `report.json`, `predictions.csv`, `gallery.json` and `thumbnails/`.

        Raises:
            InputError: test images that a model has seen, or labels beyond the classes.
        """
        with keeping(self.runtime):
            judged = _Judged(stage=self, data=self._unseen())
            report = judged.report()
            _write(out / REPORT, report.to_text())
            _write(out / PREDICTIONS, judged.answers.csv_text())
            _write(out / GALLERY, judged.gallery(out / THUMBNAILS).to_text())
        return Verdict(report=FileArtifact.of(out / REPORT), verdict=report.verdict, shipped=report.shipped)

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


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One run of `Verify`: each graph is run once, when first asked for."""

    stage: Verify
    data: Images | NpzTensors

    def report(self) -> Report:
        stage, parity = self.stage, self.judgement.parity()
        counts = dict(stage.counts or {})
        return Report(
            task=self.judgement.task.name,
            metric=self.judgement.task.metric,
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
            verdict="failed" if self.broken_vectors else self.judgement.verdict(parity),
            shipped=stage.shipped,
            notes=(*map(golden_note, self.broken_vectors), *saturation_notes({name: s.path for name, s in self.subjects.items()})) or None,
            baselines=read_baselines(stage.baselines.path) if stage.baselines else None,
            kernels=_kernels(stage.int8.path) if stage.int8 else None,
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
        )

    def gallery(self, folder: Path) -> Gallery:
        """The images to look at; where there are image files and thumbnails are wanted, with small pictures in `folder`."""
        wanted = self.stage.settings.thumbnails
        gallery, data = self.answers.gallery(wanted or LISTED), self.data
        if not isinstance(data, Images):
            return gallery
        rows = {sha: row for row, sha in enumerate(data.hashes)}
        return with_thumbnails(gallery, wanted, lambda sha: data.read(rows[sha]), folder)

    @cached_property
    def judgement(self) -> Judgement:
        """Labels and outputs, with the budgets they are judged by."""
        settings = self.stage.settings
        return Judgement(
            task=Classification(classes=self.stage.classes),
            labels=self._labels(),
            outputs=self._outputs(),
            shipped=self.stage.shipped,
            max_drop=settings.max_drop,
            max_int8_drop=settings.max_int8_drop,
        )

    @cached_property
    def broken_vectors(self) -> list[str]:
        """What the bundle's golden vectors say is wrong, on this machine."""
        return check_golden(open_bundle(self.stage.bundle.path)) if self.stage.bundle else []

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        stage = self.stage
        named = {"teacher": stage.teacher, "onnx_float": stage.onnx_float, "onnx_int8": stage.int8}
        return {name: subject for name, subject in named.items() if subject}

    def _labels(self) -> NDArray[np.int64]:
        labels = self.data.labels
        if labels is None:
            raise InputError("expected labelled test images, found an .npz without `y`. Add the labels (int) as `y`")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.stage.classes):
            raise InputError(
                f"expected labels 0 to {len(self.stage.classes) - 1}, found {labels.min()} to {labels.max()}. "
                "Give images of the model's classes"
            )
        return np.asarray(labels)

    def _outputs(self) -> dict[str, Outputs]:
        """Model name -> logits [n, k]; `student` is what its checkpoint answers under torch."""
        size = self.stage.settings.batch_size
        self._survey()
        threads = self.stage.runtime.threads
        found = {name: _answers(s.path, self._tensors(s.path), size, threads) for name, s in self.subjects.items()}
        if self.stage.student and self.stage.onnx_float:
            from edgetl.lowering.reference import torch_outputs

            found["student"] = torch_outputs(self.stage.student.path, self._tensors(self.stage.onnx_float.path).batches(size))
        return found

    def _survey(self) -> None:
        """Say what the models' Preprocess takes the depth of these images for, once where it is the same.

        Raises:
            InputError: a model that takes something else.
        """
        if not isinstance(self.data, Images):
            return
        wanted = {subject.path: self._prepared(subject.path) for subject in self.subjects.values()}
        for path, preprocess in wanted.items():
            refuse_other_inputs(path, preprocess)
        for preprocess in dict.fromkeys(wanted.values()):
            tell_depth(self.data.name, self.data.depth, preprocess)

    def _tensors(self, path: Path) -> TensorSource:
        """The test images as that model wants them."""
        if not isinstance(self.data, Images):
            return self.data
        return ImageTensors(images=self.data, preprocess=deepened(self._prepared(path), self.data.depth, self.data.name))

    def _prepared(self, path: Path) -> Preprocess:
        """How images are prepared for that model."""
        preprocess = read_info(path).preprocess or self.stage.preprocess
        if preprocess is None:
            raise InputError(
                f"expected {path} to say how images are prepared, found no Preprocess in it. Give one with --preprocess FILE|imagenet, "
                "or an .npz that is already prepared"
            )
        return preprocess

    def _models(self) -> Models:
        """The student's own scores are its checkpoint's; size and latency are its float ONNX's."""
        names = list(self.subjects)
        timed = measure_all([self.subjects[name].path for name in names], self.stage.settings.latency_runs)
        latency = {name: Latency(**vars(found)) for name, found in zip(names, timed, strict=True)}
        rows = {name: self.judgement.model(name, self._facts(name, latency[name])) for name in names}
        if "student" in self.judgement.outputs:
            rows["student"] = self.judgement.model("student", self._facts("onnx_float", latency["onnx_float"]))
        return Models(**rows)

    def _facts(self, name: str, latency: Latency) -> FileFacts:
        subject = self.subjects[name]
        counted = self.subjects.get("onnx_float", subject) if name == "onnx_int8" else subject
        return FileFacts(
            arch=subject.arch, params=parameter_count(counted.path), size_bytes=subject.path.stat().st_size, latency_ms=latency
        )


def _answers(path: Path, source: TensorSource, size: int, threads: int) -> NDArray[np.float32]:
    """Of the file itself; by exact arithmetic, where it was made for CPUs that do not saturate and this one does."""
    return (judged_outputs if made_for_others(path) else outputs_of)(path, source, batch_size=size, threads=threads)[0]


def _kernels(path: Path) -> KernelsReport:
    found = placement(kernels(path))
    float_layers, islands = (
        tuple(KernelReport(name=kernel.name, kind=kernel.kind, share=kernel.share) for kernel in listed)
        for listed in (found.float_layers, found.islands)
    )
    return KernelsReport(int8=found.int8, conversion=found.conversion, floating=found.floating, float_layers=float_layers, islands=islands)
