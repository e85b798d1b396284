"""The inputs of a pipeline, with every `auto` replaced by a choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.data.images import Images
from edgetl.models.narrow import pruned_name
from edgetl.models.weights import Weights
from edgetl.selection.candidates import SMALL_SIDE
from edgetl.selection.choices import (
    StudentChoice,
    TeacherChoice,
    for_student,
    for_teacher,
    knows,
    refuse_known_data,
    student_weights,
    waived,
)
from edgetl.selection.rounds import students_to_try
from edgetl.settings import PipelineSettings, Runtime


@dataclass(frozen=True, kw_only=True)
class PipelineJob:
    """Everything a pipeline depends on, with nothing left to be chosen."""

    data: Images
    settings: PipelineSettings
    teacher: TeacherChoice
    student: StudentChoice
    runtime: Runtime
    spare: Weights | None = None  # of students that are sought under a budget: EfficientNet-Lite0's, or the named network's
    unlabelled: Images | None = None  # photos that the student learns the teacher's answers from
    waived: str | None = None  # why images that judge may be known to the weights

    def known_before(self) -> SeenImages:
        """What the weights that teacher and student start from have seen."""
        records = [weights.record for weights in (self.student.weights, self.teacher.weights) if weights]
        return reduce(SeenImages.beside, records, SeenImages(split="", parts={}))

    def seen(self) -> SeenImages:
        """The images that teacher and student are trained and selected on, with those that the weights of either knew before."""
        seen = self.data.only("train", "val").seen().beside(self.known_before())
        return seen if self.unlabelled is None else seen.also(looks=self.unlabelled.looks, train=self.unlabelled.hashes)

    def seen_by_judges(self) -> SeenImages:
        """As `seen`, for the test part of the same data, whose split has kept together what looks alike, or has said where not.

        Of data sets by name no looks are known: there the split could do neither, and `bytes_only` says so.
        """
        before, own = self.known_before(), self.data.only("train", "val").seen()
        return replace(self.seen(), looks=before.looks, bytes_only=before.bytes_only | own.bytes_only)


def prepare(
    data: Images,
    settings: PipelineSettings,
    runtime: Runtime,
    cache: Path,
    *,
    allow_known_data: bool = False,
    unlabelled: Images | None = None,
) -> PipelineJob:
    """Choose what was left to `auto`.

    Raises:
        InputError: images without a test part, unknown architectures, unusable weights, a budget that nothing can keep.
    """
    missing = [part for part, count in data.counts().items() if not count]
    if missing:
        raise InputError(f"expected images in train, val and test, found none in {', '.join(missing)}. Give more images")
    seen = data.only("train", "val")
    teacher = for_teacher(seen, settings.finetune, cache, runtime.device)
    refuse_known_data(data, teacher.weights, allow_known_data)
    arch, side, sought = teacher.settings.arch, teacher.preprocess.side, settings.search.wanted
    student = for_student(seen, settings.distill, arch, side, cache, sought=sought)
    refuse_known_data(data, student.weights, allow_known_data)
    known = waived(data, (teacher.weights, student.weights))
    job = PipelineJob(data=data, settings=settings, teacher=teacher, student=student, runtime=runtime, unlabelled=unlabelled, waived=known)
    return with_budget(job, cache, allow_known_data=allow_known_data) if settings.search.wanted else job


def with_budget(job: PipelineJob, cache: Path, *, allow_known_data: bool = False) -> PipelineJob:
    """The job with the weights that students start from which are sought under a budget.

    Raises:
        InputError: nothing can keep the budget.
    """
    s = job.settings
    if s.distill.keep is not None:
        raise InputError(
            f"expected a budget (--max-kb, --max-ms) or the share of the parameters that pruning keeps, found a budget and distill.keep "
            f"{s.distill.keep:g}. Leave one of them out"
        )
    spare = _weights_of_trials(job, cache)
    if spare and knows(job.data, spare):
        spare = spare if allow_known_data else None
        job = replace(job, waived=waived(job.data, (job.teacher.weights, job.student.weights, spare)))
    # asked now for what it refuses: after the teacher's training it would be late
    students_to_try(s.search, s.distill.arch, job.teacher.settings.arch, job.data, student_size(job), pretrained=spare is not None)
    return replace(job, spare=spare)


def _weights_of_trials(job: PipelineJob, cache: Path) -> Weights | None:
    """What students that are tried start from: a network that was named from its own weights, a pruned teacher from the teacher's."""
    wanted = job.settings.distill
    match wanted.arch:
        case "auto":
            weights, why = student_weights("efficientnet_lite0", wanted.weights, cache)
            if weights is None and wanted.weights != "none" and student_size(job) > SMALL_SIDE:
                say(f"student: pretrained ones are passed over, because {why}")
            return weights
        case "pruned":
            return None
        case _:
            return job.student.weights


def student_size(job: PipelineJob) -> int:
    """The student's input size, pixels."""
    return job.student.settings.image_size or job.teacher.preprocess.side


def student_name(job: PipelineJob) -> str:
    """The student's architecture; of `same`, the teacher's; of `pruned`, how much of the teacher's."""
    teacher, student = job.teacher.settings.arch, job.student.settings
    match student.arch:
        case "same":
            return teacher
        case "pruned":
            return pruned_name(teacher, student.share or 1.0)
        case arch:
            return pruned_name(arch, student.keep) if student.keep else arch
