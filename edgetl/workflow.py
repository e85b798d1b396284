"""`pipeline`: the five stages in one look."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetl.bundle.read import MANIFEST, open_bundle
from edgetl.choices import StudentChoice, TeacherChoice, for_student, for_teacher
from edgetl.core.artifacts import BundleFolder, Checkpoint, FloatModel
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, publish_folder, read_json, write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.core.workspace import Do
from edgetl.data.images import Images
from edgetl.data.tensors import ImageTensors
from edgetl.models.narrow import pruned_name
from edgetl.report.html import render
from edgetl.runtime.onnx_metadata import read_info
from edgetl.settings import PipelineSettings, Runtime
from edgetl.stages.distill import Distill
from edgetl.stages.export import Export
from edgetl.stages.finetune import Finetune
from edgetl.stages.lower import Lower
from edgetl.stages.quantize import Quantize
from edgetl.stages.verify import Subject, Verdict, Verify

BUNDLE = "bundle"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a pipeline depends on, with nothing left to be chosen."""

    data: Images
    settings: PipelineSettings
    teacher: TeacherChoice
    student: StudentChoice
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a pipeline gave."""

    bundle: BundleFolder
    verdict: Verdict
    logs: Mapping[str, Path]  # stage -> CSV per epoch


def prepare(data: Images, settings: PipelineSettings, runtime: Runtime, cache: Path, *, allow_known_data: bool = False) -> Job:
    """Choose what was left to `auto`.

    Raises:
        InputError: images without a test part, unknown architectures, unusable weights.
    """
    missing = [part for part, count in data.counts().items() if not count]
    if missing:
        raise InputError(f"expected images in train, val and test, found none in {', '.join(missing)}. Give more images")
    seen = data.only("train", "val")
    teacher = for_teacher(seen, settings.finetune, cache, allow_known_data=allow_known_data)
    student = for_student(seen, settings.distill, teacher.settings.arch, teacher.preprocess.size, cache)
    return Job(data=data, settings=settings, teacher=teacher, student=student, runtime=runtime)


def pipeline(job: Job, do: Do) -> Outcome:
    """Fine-tune, distill, quantize, export, verify."""
    s, seen = job.settings, job.data.only("train", "val")
    train, val, test = (job.data.only(part) for part in ("train", "val", "test"))
    teacher = do(
        Finetune(
            data=seen,
            preprocess=job.teacher.preprocess,
            weights=job.teacher.weights,
            settings=job.teacher.settings,
            runtime=job.runtime,
        )
    )
    student = do(
        Distill(teacher=teacher.checkpoint, data=seen, weights=job.student.weights, settings=job.student.settings, runtime=job.runtime)
    )
    teacher_graph = do(Lower(checkpoint=teacher.checkpoint)).model
    student_graph = do(Lower(checkpoint=student.checkpoint)).model
    preprocess = preprocess_of(student_graph)
    calibration = train.take(s.quantize.calibration_images, s.quantize.seed)
    quantized = do(
        Quantize(
            model=student_graph,
            calibration=ImageTensors(images=calibration, preprocess=preprocess, labelled=False),
            evaluation=ImageTensors(images=val, preprocess=preprocess),
            settings=s.quantize,
        )
    )
    record = seen.seen().also(calibration=calibration.hashes)
    exported = do(
        Export(
            int8=quantized.int8,
            float_model=quantized.float_model,
            shipped=quantized.decision.shipped,
            target=s.quantize.target,
            golden=val.take(s.export.golden_images, 0),
            seen=record,
            provenance=provenance(job, teacher.checkpoint, student.checkpoint),
            settings=s.export,
        )
    )
    shipped = exported.bundle.path / "model.onnx"
    verdict = do(
        Verify(
            data=test,
            data_name=job.data.name,
            classes=job.data.classes,
            shipped=quantized.decision.shipped,
            int8=subject(shipped if quantized.decision.shipped == "int8" else quantized.int8.path, student_name(job)),
            onnx_float=subject(exported.bundle.path / "model.float.onnx", student_name(job)),
            teacher=subject(teacher_graph.path, job.teacher.settings.arch),
            student=student.checkpoint,
            bundle=exported.bundle,
            seen=record,
            counts={**job.data.counts(), "calibration": len(calibration)},
            settings=s.verify,
        )
    )
    logs = {"finetune": teacher.checkpoint, "distill": student.checkpoint}
    return Outcome(bundle=exported.bundle, verdict=verdict, logs={stage: c.path.with_name("log.csv") for stage, c in logs.items()})


def preprocess_of(model: FloatModel) -> Preprocess:
    """How images are prepared for a graph that `Lower` wrote, which always says it."""
    preprocess = read_info(model.path).preprocess
    assert preprocess is not None
    return preprocess


def subject(path: Path, arch: str) -> Subject:
    """A graph to judge, and the name of its architecture."""
    return Subject(path=path, sha256=file_sha256(path), arch=arch)


def student_name(job: Job) -> str:
    """The student's architecture; of `same`, the teacher's; of `pruned`, how much of the teacher's."""
    teacher, student = job.teacher.settings.arch, job.student.settings
    match student.arch:
        case "same":
            return teacher
        case "pruned":
            return pruned_name(teacher, student.keep)
        case arch:
            return arch


def provenance(job: Job, teacher: Checkpoint, student: Checkpoint) -> dict[str, str]:
    """Where data and weights come from, for the manifest."""
    data, weights = job.data, job.teacher.weights
    return {
        "data": f"{data.name}, {len(data)} images of {len(data.classes)} classes, split sha256:{data.digest}",
        "weights": f"{weights.source} sha256:{weights.sha256}" if weights else "none",
        "teacher": f"{job.teacher.settings.arch} sha256:{teacher.sha256}",
        "student": f"{student_name(job)} sha256:{student.sha256}",
    }


def publish(outcome: Outcome, root: Path) -> None:
    """Put `bundle/`, `report.html` and, last, `report.json` into the run folder, unless they are there already."""
    report = outcome.verdict.report
    if is_published(outcome, root):
        return
    with disk_errors(root):
        publish_folder(outcome.bundle.path, root / BUNDLE, MANIFEST)
        write_whole(root / "report.html", render(read_json(report.path), read_curves(outcome.logs)))
        write_whole(root / "report.json", report.path.read_bytes())


def is_published(outcome: Outcome, root: Path) -> bool:
    """Whether the run folder holds just this outcome; report.json was the last to be written."""
    reports = [root / "report.json", root / "report.html"]
    if not all(path.is_file() for path in reports) or file_sha256(reports[0]) != outcome.verdict.report.sha256:
        return False
    try:
        return open_bundle(root / BUNDLE).sha256 == outcome.bundle.sha256
    except InputError:  # somebody changed a file of it: publish it again
        return False


def read_curves(logs: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    """The training logs: stage -> one row of numbers for each epoch."""
    curves = {}
    for stage, path in logs.items():
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
            curves[stage] = [row for row in rows if all(math.isfinite(value) for value in row.values())]
    return curves
