"""An estimate of the time and the disk that a pipeline takes, and a check that its student can be made; from untrained networks."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetl.core.errors import WorkspaceError
from edgetl.models.build import build, trained_name
from edgetl.models.packaged import packaged
from edgetl.quantization.observe.effort import DEFAULT_MULTIPLY_ADDS, images_for
from edgetl.selection.job import PipelineJob, student_name, student_size
from edgetl.selection.under_budget import SHORTER, students_to_try
from edgetl.settings import FinetuneSettings
from edgetl.training.device import finished, pinned, placed, threaded
from edgetl.training.inherit import IMAGES, PRUNING_STEPS, rehearse
from edgetl.training.mirror import MOST_IMAGES
from edgetl.training.scratch import WORK_SHARE

TRAINING_PASSES = 3  # forward, and twice as much backward
TUNING_PASSES = 8  # of an image when int8 is tuned: forward and backward through all the rounding
FLOPS = 2  # of a multiply-add
PRUNING_IMAGES = PRUNING_STEPS * IMAGES  # whose gradients say what matters
TRIALS = 3  # students under a budget
DEPTHWISE_SLOWDOWN = 2.0  # times longer than their operations say do networks of depthwise layers train (docs/speed.md)
OVERHEAD_S = 25  # exporting, quantizing, verifying, starting up
CLEARLY = 1.2  # times longer: worth a word
COPIES = 12  # weights, gradients' moments, best epoch, graphs; each as large as the weights, float32
MEBIBYTE = 1 << 20


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
    counts = job.data.counts()
    teacher, size = job.teacher.settings, job.teacher.preprocess.side
    student = job.student.settings
    classes = len(job.data.classes)
    big_flops, big_bytes = cost(teacher.arch, classes, size)
    small_flops, small_bytes = student_cost(job, big_flops, big_bytes)
    images = counts["train"]
    small_epochs = student.epochs_for(images)
    least, most, learning = teacher_passes(teacher, images, pretrained=job.teacher.weights is not None)
    work = images * least * big_flops
    if student.arch != "same":
        asked = min(small_epochs, student.resolved().answers or small_epochs)  # epochs in which the teacher answers
        distilling = images * (small_epochs * small_flops * TRAINING_PASSES + asked * big_flops)
        pruning = PRUNING_IMAGES * TRAINING_PASSES * (big_flops if student.inherits else small_flops) if student.share else 0
        work += distilling + pruning + (TRIALS * (distilling / SHORTER + pruning) if job.settings.search.wanted else 0)
    tuning = tuned_images(job, images, student.image_size or size) * TUNING_PASSES * (small_flops or big_flops)
    disk = COPIES * (big_bytes + small_bytes) + len(job.data) * 200
    plan = f"{images} training images, {classes} classes; teacher {teacher.arch}, {learning}; "
    plan += planned_student(job, small_epochs)
    room = shutil.disk_usage(out).free + sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if room < disk:
        raise WorkspaceError(
            f"expected {disk // MEBIBYTE + 1} MiB of free disk for {out}, found {room // MEBIBYTE}. "
            "Free some space, or choose another --out"
        )
    with pinned(job.runtime) as device:
        speed = probe(device)
    quantizing = min(min(tuning, FLOPS * DEFAULT_MULTIPLY_ADDS) / speed, job.settings.quantize.time_limit or inf)
    seconds = work / speed + quantizing + OVERHEAD_S
    return Estimate(plan=plan, seconds=seconds, longest=seconds + images * (most - least) * big_flops / speed, disk_bytes=disk)


def planned_student(job: PipelineJob, epochs: int) -> str:
    """What becomes the student, in words: under a budget that is known only when some have been tried."""
    if job.student.settings.arch == "same":
        return "no student"
    return f"student {f'the best of {TRIALS} tried' if job.settings.search.wanted else student_name(job)}, {times(epochs)}"


def teacher_passes(s: FinetuneSettings, images: int, *, pretrained: bool) -> tuple[float, float, str]:
    """Forward passes of each training image, at least and at most, and what learns, in words; `auto` may stop at the head."""
    epochs = s.epochs_for(images)
    mirrored = min(images, MOST_IMAGES) / images if s.flip is None else 0  # looked at to decide whether views are mirrored
    features, training = (s.head_views + mirrored) * pretrained, epochs * TRAINING_PASSES * slowness(s.arch)
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


def student_cost(job: PipelineJob, teacher_flops: int, teacher_bytes: int) -> tuple[int, int]:
    """`cost` of the student. That of a pruned one is known only when it is there: about its share of the teacher's.

    Fewer parameters go from early layers, which see many pixels: operations fall more slowly than parameters.
    """
    student, size = job.student.settings, job.teacher.preprocess.side
    match student.arch:
        case "same":
            return 0, teacher_bytes
        case "pruned":
            pixels = ((student.image_size or size) / size) ** 2
            keep = student.share or 1.0
            return round(teacher_flops * keep**0.5 * pixels), round(teacher_bytes * keep)
        case arch:
            flops, size_bytes = cost(arch, len(job.data.classes), student.image_size or size)
            keep = student.share or 1.0
            return round(slowness(arch) * flops * keep**0.5), round(size_bytes * keep)


def slowness(arch: str) -> float:
    """How many times longer than its operations say a network trains."""
    return DEPTHWISE_SLOWDOWN if packaged(arch) else 1.0


def times(epochs: int) -> str:
    """1 -> `1 epoch`, 2 -> `2 epochs`."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def cost(arch: str, classes: int, size: int) -> tuple[int, int]:
    """FLOPs of one forward pass of one image, and bytes of the float32 weights."""
    with torch.device("meta"):
        model = build(arch, classes, size).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.empty(1, 3, size, size))
    return counter.get_total_flops(), 4 * sum(p.numel() for p in model.parameters())


def rehearse_pruning(job: PipelineJob) -> None:
    """Prune networks with random weights as the students will be pruned, to refuse an impossible share before hours of training.

    Raises:
        InputError: a student that cannot be had.
    """
    s, student, size, classes = job.settings, job.student.settings, student_size(job), len(job.data.classes)
    teacher = trained_name(job.teacher.settings.arch, job.teacher.settings.head)
    planned: list[tuple[str, float | None]] = [(student.arch, student.share)]
    if s.search.wanted:
        sought = students_to_try(s.search, s.distill.arch, job.teacher.settings.arch, job.data, size, pretrained=job.spare is not None)
        planned = [("pruned" if s.distill.inherits else sized.arch, sized.keep) for sized in sought]
    with threaded(job.runtime.threads):
        for arch, keep in planned:
            if keep is not None and arch != "same":
                rehearse(teacher if arch == "pruned" else arch, classes, size, keep)


def probe(device: torch.device) -> float:
    """FLOPs per second that training a small convolution reaches here; takes about half a second."""
    net: nn.Module = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    net = placed(net, device)
    x = torch.randn(32, 32, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    flops = 2 * 32 * 32 * 9 * x.shape[0] * 32 * 32 * TRAINING_PASSES
    best = 0.0
    for _ in range(8):
        finished(device)
        started = time.perf_counter()
        net(x).sum().backward()
        finished(device)
        best = max(best, flops / (time.perf_counter() - started))
    return best
