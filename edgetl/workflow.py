"""The function `pipeline`, which composes the five stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgetl.bundle.read import MANIFEST, open_bundle
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact, FloatModel
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors
from edgetl.core.plan import UnknownInputs
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.publish import publish_folder
from edgetl.core.workspace import Do
from edgetl.data.images import Images
from edgetl.data.pixel_cache import keeping
from edgetl.data.tensors import ImageTensors
from edgetl.models.build import trained_name
from edgetl.report.publish import is_published as report_is_published
from edgetl.report.publish import publish_report
from edgetl.runtime.onnx_metadata import read_info
from edgetl.selection.choices import StudentChoice
from edgetl.selection.job import PipelineJob, student_name, student_size
from edgetl.selection.rounds import Rounds
from edgetl.selection.screening import ScreenedRound, Screening
from edgetl.selection.under_budget import Seek, exceeded, with_limits
from edgetl.stages.distill import Distill
from edgetl.stages.export import Export
from edgetl.stages.finetune import Finetune, Teacher
from edgetl.stages.folds import Crossval
from edgetl.stages.lower import Lower
from edgetl.stages.quantize import Quantize, Quantized
from edgetl.stages.verify import Subject, Verdict, Verify

BUNDLE = "bundle"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a pipeline gave."""

    bundle: BundleFolder
    verdict: Verdict
    logs: Mapping[str, Path]  # stage -> CSV per epoch


def pipeline(job: PipelineJob, do: Do) -> Outcome:
    """Fine-tune, distill, quantize, export, verify."""
    s = job.settings
    train, val = (job.data.only(part) for part in ("train", "val"))
    crossing = crossvalidation(job) if s.crossval.folds else None  # asked now for what it refuses: after the teacher it would be late
    with keeping(job.runtime):  # all networks look at the same decoded images
        some = screened(job, do) if s.search.wanted else None  # for the same reason
        teacher = taught(job, do)
        crossed = do(replace(crossing, features=teacher.features)) if crossing else None
        job, frontier = sought(job, teacher, some, do) if some is not None else (job, None)
        student = do(distillation(job, teacher, job.student))
    made = (("teacher", teacher.checkpoint), ("student", student.checkpoint))
    teacher_graph, student_graph = (do(Lower(checkpoint=checkpoint, network=name)).model for name, checkpoint in made)
    preprocess, calibration = preprocess_of(student_graph), train.take(s.quantize.calibration_images, s.quantize.seed)
    quantized = do(quantization(job, student_graph, calibration, preprocess))
    if warning := exceeded(s.search, quantized.ships.stat().st_size):
        say(warning)
    exported = do(
        Export(
            int8=quantized.int8,
            float_model=quantized.float_model,
            shipped=quantized.decision.shipped,
            target=s.quantize.target,
            golden=val.take(s.export.golden_images, 0),
            seen=job.seen().also(looks=calibration.looks, calibration=calibration.hashes),
            provenance=provenance(job, teacher.checkpoint, student.checkpoint),
            evaluation=ImageTensors(images=val, preprocess=preprocess),
            groups=val.groups_here,
            one_split=True,
            settings=s.export,
        )
    )
    judging = verification(job, quantized, exported.bundle, student.checkpoint, subject(teacher_graph.path, job.teacher.settings.arch))
    counts = {**job.data.counts(), "calibration": len(calibration)}
    verdict = do(replace(judging, counts=counts, baselines=teacher.baselines, folds=crossed.folds if crossed else None, frontier=frontier))
    logs = {"finetune": teacher.checkpoint, "distill": student.checkpoint}
    return Outcome(bundle=exported.bundle, verdict=verdict, logs={stage: c.path.with_name("log.csv") for stage, c in logs.items()})


def quantization(job: PipelineJob, model: FloatModel, calibration: Images, preprocess: Preprocess) -> Quantize:
    """The stage that gives the int8 graph, and decides on val."""
    val = job.data.only("val")
    return Quantize(
        model=model,
        calibration=ImageTensors(images=calibration, preprocess=preprocess, labelled=False),
        evaluation=ImageTensors(images=val, preprocess=preprocess),
        settings=with_limits(job.settings.quantize, job.settings.search),
        classes=job.data.classes,
        groups=val.groups_here,
        alike=calibration.groups_here,
        one_split=True,
        runtime=job.runtime,
    )


def verification(job: PipelineJob, quantized: Quantized, bundle: BundleFolder, student: Checkpoint, teacher: Subject) -> Verify:
    """The stage that judges the bundle's files on the test part."""
    test, decision = job.data.only("test"), quantized.decision
    return Verify(
        data=test,
        data_name=job.data.name,
        classes=job.data.classes,
        shipped=decision.shipped,
        int8=subject(quantized.int8.path if decision.shipped == "float" else bundle.path / "model.onnx", student_name(job)),
        onnx_float=subject(bundle.path / "model.float.onnx", student_name(job)),
        teacher=teacher,
        student=student,
        bundle=bundle,
        seen=job.seen_by_judges(),  # calibration images are train images
        waived=job.waived,
        intake=job.data.intake,
        groups=test.groups_here,
        names=quantized.names,
        alike=job.data.alike_beyond("test"),
        because=decision.why,
        settings=job.settings.verify,
        runtime=job.runtime,
    )


def taught(job: PipelineJob, do: Do) -> Teacher:
    """The teacher."""
    seen, chosen = job.data.only("train", "val"), job.teacher
    return do(Finetune(data=seen, preprocess=chosen.preprocess, weights=chosen.weights, settings=chosen.settings, runtime=job.runtime))


def crossvalidation(job: PipelineJob) -> Crossval:
    """The stage that judges frozen features fold by fold.

    Raises:
        InputError: there are no pretrained weights, or too few images for so many folds.
    """
    chosen, folds = job.teacher, job.settings.crossval.folds
    if chosen.weights is None or folds is None:
        raise InputError("expected pretrained weights for --folds, which judges frozen features, found none. Give --teacher-weights")
    stage = Crossval(
        data=job.data.only("train", "val"),
        folds=folds,
        seed=chosen.settings.seed,
        runtime=job.runtime,
    )
    stage.refuse_few()
    return stage


def distillation(job: PipelineJob, teacher: Teacher, student: StudentChoice) -> Distill:
    """The stage that makes a student."""
    return Distill(
        teacher=teacher.checkpoint,
        data=job.data.only("train", "val"),
        weights=student.weights,
        settings=student.settings,
        unlabelled=job.unlabelled,
        runtime=job.runtime,
    )


def rounds_of(job: PipelineJob) -> Rounds:
    """What is tried under the budget."""
    return Rounds(
        data=job.data.only("train", "val"),
        teacher_arch=job.teacher.settings.arch,
        image_size=student_size(job),
        wanted=job.settings.distill.but(flip=job.student.settings.flip),
        weights=job.spare,
        budget=job.settings.search,
    )


def screened(job: PipelineJob, do: Do) -> Iterator[ScreenedRound]:
    """What is tried under the budget, without what is too slow.

    Raises:
        InputError: everything is.
    """
    teacher = job.teacher
    screening = Screening(
        rounds=rounds_of(job),
        teacher_name=trained_name(teacher.settings.arch, teacher.settings.head),
        preprocess=teacher.preprocess,
        target=job.settings.quantize,
        runtime=job.runtime,
    )
    try:
        return screening(do)
    except UnknownInputs:
        taught(job, do)  # `status` tells of the teacher, too, which depends on none of this
        raise


def sought(job: PipelineJob, teacher: Teacher, some: Iterator[ScreenedRound], do: Do) -> tuple[PipelineJob, FileArtifact]:
    """The job with the student that is best under the budget, and all that was tried."""
    seek = Seek(
        rounds=rounds_of(job), teacher=teacher.checkpoint, unlabelled=job.unlabelled, target=job.settings.quantize, runtime=job.runtime
    )
    student, frontier = seek(some, do)
    return replace(job, student=student), frontier


def preprocess_of(model: FloatModel) -> Preprocess:
    """How images are prepared for a graph that `Lower` wrote, which always says it."""
    preprocess = read_info(model.path).preprocess
    assert preprocess is not None
    return preprocess


def subject(path: Path, arch: str) -> Subject:
    """A graph to judge, and the name of its architecture."""
    return Subject(path=path, sha256=file_sha256(path), arch=arch)


def provenance(job: PipelineJob, teacher: Checkpoint, student: Checkpoint) -> dict[str, str]:
    """The origin of data and weights, for the manifest."""
    data, weights = job.data, job.teacher.weights
    return {
        "data": f"{data.name}, {len(data)} images of {len(data.classes)} classes, split sha256:{data.digest}",
        "weights": f"{weights.source} sha256:{weights.sha256}" if weights else "none",
        "trained_on": ", ".join(job.seen().trained_on),
        "teacher": f"{job.teacher.settings.arch} sha256:{teacher.sha256}",
        "student": f"{student_name(job)} sha256:{student.sha256}",
    }


def publish(outcome: Outcome, root: Path) -> None:
    """Put `bundle/`, the report's files and, last, `report.json` into the run folder, unless they are there already."""
    if is_published(outcome, root):
        return
    with disk_errors(root):
        publish_folder(outcome.bundle.path, root / BUNDLE, MANIFEST)
    publish_report(outcome.verdict.folder, root, outcome.logs)


def is_published(outcome: Outcome, root: Path) -> bool:
    """Whether the run folder holds just this outcome."""
    if not report_is_published(outcome.verdict.folder, root):
        return False
    try:
        return open_bundle(root / BUNDLE).sha256 == outcome.bundle.sha256
    except InputError:  # somebody changed a file of it: publish it again
        return False
