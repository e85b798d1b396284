"""An estimate of the time and the disk that a pipeline takes, and a check that its student can be made; from untrained networks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgetl.cli.pace import Pace, pace, view_pace
from edgetl.core.errors import WorkspaceError
from edgetl.core.files import MEBIBYTE
from edgetl.data.decode import augment_for
from edgetl.models.build import trained_name
from edgetl.models.channel_groups import parameter_count
from edgetl.quantization.observe.effort import DEFAULT_MULTIPLY_ADDS, images_for
from edgetl.selection.candidates import outline
from edgetl.selection.job import PipelineJob, student_name, student_size
from edgetl.selection.rounds import choice_of, students_to_try
from edgetl.selection.students import Sized
from edgetl.selection.under_budget import SHORTER
from edgetl.settings import FinetuneSettings
from edgetl.training.device import pinned, threaded
from edgetl.training.inherit import IMAGES, PRUNING_STEPS, rehearse
from edgetl.training.mirror import MOST_IMAGES
from edgetl.training.scratch import WORK_SHARE

TUNING_PASSES = 8  # of an image when int8 is tuned: forward and backward through all the rounding
FLOPS = 2  # of a multiply-add
PRUNING_IMAGES = PRUNING_STEPS * IMAGES  # whose gradients say what matters
BESIDE = 1.25  # times as long as networks and views alone: optimizer, mixing, larger batches (docs/speed.md)
ODD_WIDTHS = 1.85  # times as long as their operations say do pruned layers train: 1.34 times as long as the whole at 51%, 0.75 at 15%
OVERHEAD_S = 32  # exporting, quantizing, verifying, starting up
MEASURING_S = 12  # making and timing an untrained int8 file: 5 s at 32 px, 12 s of EfficientNet-Lite0 at 224 px, at one thread
CLEARLY = 1.2  # times longer: worth a word
COPIES = 12  # weights, gradients' moments, best epoch, graphs; each as large as the weights, float32


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds and bytes of a plan; `longest`: seconds if more than the teacher's head is trained, where that is not decided yet."""

    plan: str
    seconds: float
    longest: float
    disk_bytes: int

    def line(self) -> str:
        """One line for the screen."""
        longer = f" ({spoken(self.longest)} if more than the teacher's head is trained)" if self.longest > CLEARLY * self.seconds else ""
        disk = f"{max(1, self.disk_bytes // MEBIBYTE)} MiB of disk"
        return f"plan: {self.plan}. About {spoken(self.seconds)}{longer}, less where earlier results are reused; {disk}"


def spoken(seconds: float) -> str:
    """95 -> `2 minutes`."""
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"


def estimate(job: PipelineJob, out: Path) -> Estimate:
    """Time and disk for all stages from the start.

    Raises:
        WorkspaceError: the disk has less room than that.
    """
    counts, classes = job.data.counts(), len(job.data.classes)
    some = trials(job)
    if some:  # which of them will be taken is not known: as long as that with the most epochs
        choices = [choice_of(sized, job.settings.distill, job.spare) for sized in some]
        job = replace(job, student=max(choices, key=lambda choice: choice.settings.epochs_for(counts["train"])))
    teacher, student, size = job.teacher.settings, job.student.settings, job.teacher.preprocess.side
    images = counts["train"]
    taught = images + len(job.unlabelled or ())  # the student looks at those without labels, too
    epochs = student.epochs_for(taught)
    _refuse_full_disk(out, disk := COPIES * (float32_bytes(teacher.arch, classes, size) + student_bytes(job)) + len(job.data) * 200)
    with pinned(job.runtime) as device:
        big = pace(teacher.arch, classes, size, device)
        small = big if student.arch == "same" else student_pace(job, big, device)
        view = view_pace(augment_for(job.data.only("train"), job.teacher.preprocess, student.augment, flip=True), device)
    least, most, learning = teacher_seconds(teacher, images, big, view, pretrained=job.teacher.weights is not None)
    seconds = OVERHEAD_S + least + quantizing_seconds(job, small)
    if student.arch != "same":
        asked = min(epochs, student.resolved().answers or epochs)  # epochs in which the teacher answers
        step = small.step * (ODD_WIDTHS * student.share**0.5 if student.share else 1)  # early layers, which see many pixels, keep most
        distilling = BESIDE * taught * (epochs * (view + step) + asked * big.answers)
        pruning = PRUNING_IMAGES * small.step if student.share else 0
        seconds += distilling + pruning + len(some) * (distilling / SHORTER + pruning + (MEASURING_S if job.settings.search.max_ms else 0))
    plan = f"{images} training images, {classes} classes; teacher {teacher.arch}, {learning}; {planned_student(job, epochs)}"
    return Estimate(plan=plan, seconds=seconds, longest=seconds + most - least, disk_bytes=disk)


def _refuse_full_disk(out: Path, disk: int) -> None:
    room = shutil.disk_usage(out).free + sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if room < disk:
        raise WorkspaceError(
            f"expected {disk // MEBIBYTE + 1} MiB of free disk for {out}, found {room // MEBIBYTE}. "
            "Free some space, or choose another --out"
        )


def planned_student(job: PipelineJob, epochs: int) -> str:
    """What becomes the student, in words: under a budget that is known only when some have been tried."""
    if job.student.settings.arch == "same":
        return "no student"
    search = job.settings.search
    many = len(trials(job))
    tried = f"the best of {f'up to {many} tried (of smaller ones if none is fast enough)' if search.max_ms else f'{many} tried'}"
    return f"student {tried if search.wanted else student_name(job)}, {times(epochs)}"


def trials(job: PipelineJob) -> list[Sized]:
    """The students that are tried under a budget, if one is asked for."""
    s = job.settings
    if not s.search.wanted:
        return []
    arch, pretrained = job.teacher.settings.arch, job.spare is not None
    return students_to_try(s.search, s.distill.arch, arch, job.data, student_size(job), pretrained=pretrained)


def teacher_seconds(s: FinetuneSettings, images: int, found: Pace, view: float, *, pretrained: bool) -> tuple[float, float, str]:
    """Seconds, at least and at most, and what learns, in words; `auto` may stop at the head."""
    epochs = s.epochs_for(images)
    mirrored = min(images, MOST_IMAGES) if s.flip is None else 0  # looked at to decide whether views are mirrored
    features, training = (images * s.head_views + mirrored) * pretrained * found.features, BESIDE * images * epochs * (view + found.step)
    beside = 1 + WORK_SHARE * (pretrained and s.baselines)  # the network from scratch
    head, whole = features * beside, (features + training) * beside
    match s.strategy:
        case "features":
            return head, head, "only the head is trained"
        case "auto" if pretrained:
            return head, whole, f"up to {times(epochs)}"
        case _:
            return whole, whole, times(epochs)


def tuned_images(job: PipelineJob, train: int, side: int) -> int:
    """How many images the last step of quantizing looks at."""
    wanted = job.settings.quantize.tune_images
    return images_for(min(train, job.settings.quantize.calibration_images), side * side) if wanted is None else wanted


def quantizing_seconds(job: PipelineJob, small: Pace) -> float:
    """Of the last step of quantizing, which takes longest."""
    arch, size = _network(job)
    share = FLOPS * DEFAULT_MULTIPLY_ADDS / forward_flops(arch, len(job.data.classes), size)
    forwards = min(tuned_images(job, job.data.counts()["train"], size) * TUNING_PASSES, share)
    seconds: float = forwards * small.features * (job.student.settings.share or 1.0) ** 0.5
    return min(seconds, job.settings.quantize.time_limit or inf)


def student_pace(job: PipelineJob, big: Pace, device: torch.device) -> Pace:
    """The pace of the student before it is pruned."""
    arch, size = _network(job)
    frozen = job.student.settings.frozen_for(len(job.data.only("train")))
    same = (arch, size, frozen) == (job.teacher.settings.arch, job.teacher.preprocess.side, 0)
    return big if same else pace(arch, len(job.data.classes), size, device, frozen=frozen)


def _network(job: PipelineJob) -> tuple[str, int]:
    """The architecture of the student, before it is pruned, and its input size in pixels."""
    own = job.student.settings.arch
    return (job.teacher.settings.arch if own in ("same", "pruned") else own), student_size(job)


def student_bytes(job: PipelineJob) -> int:
    """Of the student's weights, float32."""
    arch, size = _network(job)
    return round(float32_bytes(arch, len(job.data.classes), size) * (job.student.settings.share or 1.0))


def float32_bytes(arch: str, classes: int, size: int) -> int:
    """Of the weights of an architecture."""
    return 4 * parameter_count(outline(arch, classes, size))


def times(epochs: int) -> str:
    """1 -> `1 epoch`, 2 -> `2 epochs`."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def forward_flops(arch: str, classes: int, size: int) -> int:
    """Of one forward pass of one image."""
    model = outline(arch, classes, size).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.device("meta"):
        model(torch.empty(1, 3, size, size))
    return counter.get_total_flops()


def rehearse_pruning(job: PipelineJob) -> None:
    """Prune networks with random weights as the students will be pruned, to refuse an impossible share before hours of training.

    Raises:
        InputError: a student that cannot be had.
    """
    s, student, size, classes = job.settings, job.student.settings, student_size(job), len(job.data.classes)
    teacher = trained_name(job.teacher.settings.arch, job.teacher.settings.head)
    planned: list[tuple[str, float | None]] = [(student.arch, student.share)]
    if s.search.wanted:
        planned = [("pruned" if s.distill.inherits else sized.arch, sized.keep) for sized in trials(job)]
    with threaded(job.runtime.threads):
        for arch, keep in planned:
            if keep is not None and arch != "same":
                rehearse(teacher if arch == "pruned" else arch, classes, size, keep)
