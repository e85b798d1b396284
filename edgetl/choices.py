"""`auto` becomes a name, and a reason for people: what the stages get is decided here, before any key is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess, decode
from edgetl.core.progress import say
from edgetl.data.images import Images
from edgetl.models.build import check_architecture
from edgetl.models.choose import choose_student, choose_teacher, usual_preprocess
from edgetl.models.narrow import pruned_name
from edgetl.models.prune import check_prunable
from edgetl.models.weights import Weights, resolve_weights
from edgetl.settings import DistillSettings, FinetuneSettings

SIDE_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """Settings with an architecture by name, the weights to start from, and how images are prepared for them."""

    settings: FinetuneSettings
    weights: Weights | None
    preprocess: Preprocess


@dataclass(frozen=True, kw_only=True)
class StudentChoice:
    """Settings with an architecture by name, and the weights to start from."""

    settings: DistillSettings
    weights: Weights | None


def for_teacher(images: Images, wanted: FinetuneSettings, cache: Path, *, allow_known_data: bool = False) -> TeacherChoice:
    """The teacher for these images.

    Raises:
        InputError: unknown architecture, unusable weights, or weights that were trained on these very images.
    """
    arch, size, line = wanted.arch, wanted.image_size, ""
    if arch == "auto":
        choice = choose_teacher(median_side(images), len(images))
        arch, size, line = choice.arch, size or choice.image_size, choice.reason
    check_architecture(arch)
    weights, why = resolve_weights(arch, wanted.weights, cache)
    if weights is None and wanted.arch == "auto" and wanted.weights == "auto":
        say(f"finetune: {why}")
        choice = choose_teacher(median_side(images), len(images), published=False)
        arch, size, line = choice.arch, wanted.image_size or choice.image_size, choice.reason
        weights, why = resolve_weights(arch, "auto", cache)
    say(f"teacher {arch}{f' ({line})' if line else ''}; {why}")
    refuse_known_data(images, weights, allow_known_data)
    known = weights.preprocess if weights and weights.preprocess else usual_preprocess(arch, median_side(images))
    preprocess = known.at(size or known.size)
    flip = images.flip if wanted.flip is None else wanted.flip
    settings = wanted.but(arch=arch, image_size=preprocess.size, weights=_kind(weights), flip=flip)
    return TeacherChoice(settings=settings, weights=weights, preprocess=preprocess)


def for_student(images: Images, wanted: DistillSettings, teacher_arch: str, teacher_size: int, cache: Path) -> StudentChoice:
    """The student for these images and this teacher.

    Raises:
        InputError: unknown architecture or unusable weights.
    """
    arch = wanted.arch
    if arch == "same":
        say("student same: the teacher itself is compressed")
        return StudentChoice(settings=wanted.but(weights="none"), weights=None)
    if arch == "auto":
        choice = choose_student(teacher_arch, wanted.image_size or teacher_size, len(images))
        arch = choice.arch
        say(f"student {arch} ({choice.reason})")
    flip = images.flip if wanted.flip is None else wanted.flip
    if arch == "pruned":
        check_prunable(teacher_arch)
        say(f"student {pruned_name(teacher_arch, wanted.keep)}: it inherits the teacher's weights")
        return StudentChoice(settings=wanted.but(arch=arch, weights="none", flip=flip), weights=None)
    check_architecture(arch)
    weights = resolve_weights(arch, wanted.weights, cache)[0] if wanted.weights != "none" else None
    settings = wanted.but(arch=arch, weights=_kind(weights), flip=flip)
    return StudentChoice(settings=settings, weights=weights)


def refuse_known_data(images: Images, weights: Weights | None, allowed: bool) -> None:
    """Scores on data that the pretrained weights know prove nothing.

    Raises:
        InputError: the weights were trained on the data set that `images` is a copy of.
    """
    if weights and images.origin and weights.trained_on == images.origin and not allowed:
        raise InputError(
            f"expected images that the pretrained weights have not seen, found {images.origin}, which {weights.source} was trained on: "
            f"its test score would prove nothing. Use --teacher-weights none, or --allow-known-data to go on regardless"
        )


def median_side(images: Images) -> int:
    """The median shorter side of some of the images, pixels."""
    steps = max(1, len(images) // SIDE_SAMPLES)
    return int(np.median([min(decode(images.read(i)).size) for i in range(0, len(images), steps)]))


def _kind(weights: Weights | None) -> str:
    """What stands in the settings: the weights themselves are an artifact of the stage, known by content."""
    return "none" if weights is None else weights.source.split(":")[0]
