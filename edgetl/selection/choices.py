"""The choice of teacher, student, input size and weights for `auto`, made before the key of any stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import detail, say
from edgetl.core.seen import SeenImages
from edgetl.data.images import ImageRef, Images
from edgetl.data.survey import CHOICE, surveyed
from edgetl.data.unseen import by_look
from edgetl.models.build import check_architecture
from edgetl.models.narrow import pruned_name
from edgetl.models.packaged import packaged
from edgetl.models.prune import check_prunable, is_prunable
from edgetl.models.weights import Weights, resolve_weights
from edgetl.selection.candidates import WeightSource, choose_student, choose_teacher, usual_preprocess
from edgetl.settings import PATIENT_SIDE, DistillSettings, FinetuneSettings
from edgetl.training.device import pick_device

SOURCES: tuple[WeightSource, ...] = ("installed", "published", "embedded")  # of the teacher's weights, in the order in which they are tried


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


def for_teacher(images: Images, wanted: FinetuneSettings, cache: Path, device: str = "auto") -> TeacherChoice:
    """The teacher for these images, trained on `device`.

    Raises:
        InputError: unknown architecture, unusable weights, or a device that is not there.
    """
    pick_device(device)
    arch, size, line = wanted.arch, wanted.image_size, ""
    if arch != "auto":
        check_architecture(arch)
        weights, why = resolve_weights(arch, wanted.weights, cache)
    else:
        for source in SOURCES:
            choice = choose_teacher(images.median_side, len(images), source=source)
            arch, size, line = choice.arch, wanted.image_size or choice.image_size, choice.reason
            weights, why = resolve_weights(arch, wanted.weights, cache)
            if weights or wanted.weights != "auto":
                break
            say(f"teacher: {arch} is passed over, because {why}")
    known = weights.preprocess if weights and weights.preprocess else usual_preprocess(arch, images.median_side)
    preprocess = surveyed(images, _for_training(known, arch, size).fitted(wanted.resize or known.fit).quick(), CHOICE)
    flip = mirrored(images, wanted.flip)
    say(f"teacher: {arch} at {preprocess.side} px; {initial(weights, why)}")
    if line:
        detail(f"teacher: chosen automatically: {line}")
    settings = wanted.but(arch=arch, image_size=preprocess.side, resize=preprocess.fit, weights=_kind(weights), flip=flip)
    return TeacherChoice(settings=settings, weights=weights, preprocess=preprocess)


def mirrored(images: Images, wanted: bool | None) -> bool | None:
    """Whether left and right may be exchanged, where that is known beforehand; None: the teacher's training looks at the photos."""
    return False if wanted is None and not images.flip else wanted


def for_student(
    images: Images, wanted: DistillSettings, teacher_arch: str, teacher_size: int, cache: Path, *, sought: bool = False
) -> StudentChoice:
    """The student for these images and this teacher; `sought`: under a budget, another may be taken in the place of an automatic one.

    Raises:
        InputError: unknown architecture or unusable weights.
    """
    arch, keep, size = wanted.arch, wanted.share, wanted.image_size
    tell = detail if sought and arch == "auto" else say
    if arch == "same":
        say("student: none; the teacher itself is quantized")
        return StudentChoice(settings=wanted.but(weights="none"), weights=None)
    if arch == "auto":
        choice = choose_student(
            teacher_arch,
            wanted.image_size or teacher_size,
            len(images),
            len(images.classes),
            side=images.median_side,
            prunable=is_prunable(teacher_arch),
        )
        arch, keep = choice.arch, wanted.keep or choice.keep
        detail(f"student: chosen automatically: {choice.reason}")
        size = wanted.image_size or (None if choice.image_size == teacher_size else choice.image_size)
    settings = wanted.but(arch=arch, keep=keep, image_size=size, flip=mirrored(images, wanted.flip))
    if arch == "pruned":
        check_prunable(teacher_arch)
        small = size or (teacher_size if teacher_size <= PATIENT_SIDE else None)  # more epochs follow from it
        settings = settings.but(weights="none", image_size=small).resolved()
        assert settings.share is not None
        tell(f"student: {pruned_name(teacher_arch, settings.share)}; the teacher's own weights, pruned")
        return StudentChoice(settings=settings.but(keep=settings.share), weights=None)
    check_architecture(arch)
    weights, why = student_weights(arch, wanted.weights, cache)
    tell(f"student: {pruned_name(arch, keep) if keep else arch} at {size or teacher_size} px; {initial(weights, why)}")
    return StudentChoice(settings=settings.but(weights=_kind(weights)).resolved(), weights=weights)


def initial(weights: Weights | None, why: str) -> str:
    """What training starts from, in words: `resolve_weights` says `why`."""
    return f"starts from {why}" if weights else f"starts from random weights ({why})"


def student_weights(arch: str, choice: str, cache: Path) -> tuple[Weights | None, str]:
    """`resolve_weights`; `installed` takes what pip brought, and downloads nothing."""
    if choice == "installed":
        choice = "auto" if packaged(arch) else "none"
        if choice == "none":
            return None, "no installed package has weights for it"
    return resolve_weights(arch, choice, cache)


def waived(images: Images, weights: Iterable[Weights | None]) -> str | None:
    """The reason why scores on `images` prove nothing, if known data was allowed; None if no weights know these images."""
    known = [found.source for found in weights if found and knows(images, found)]
    return f"{', '.join(dict.fromkeys(known))} knew images that judge (--allow-known-data)" if known else None


def refuse_known_data(images: Images, weights: Weights | None, allowed: bool) -> None:
    """Scores on images that the pretrained weights know, now or at any time before, prove nothing.

    Raises:
        InputError: the weights were trained on the data set that `images` is a copy of, or on images of its val or test part.
    """
    if weights is None or allowed:
        return
    way_out = "Use --teacher-weights none, or --allow-known-data to go on regardless"
    if _same_data(images, weights):
        raise InputError(
            f"expected images that the pretrained weights have not seen, found {images.origin}, which {weights.source} was trained on: "
            f"its test score would prove nothing. {way_out}"
        )
    known = [f"{ref.where} ({ref.part}{how})" for ref, how in _known(images, weights)]
    if known:
        raise InputError(
            f"expected val and test images that the pretrained weights have not seen, found {len(known)} that {weights.source} was "
            f"trained or selected on:\n{listing(sorted(known), 8)}\n"
            f"Use the split of that training (the same photos and --split-seed). {way_out}"
        )


def knows(images: Images, weights: Weights) -> bool:
    """Whether the weights were trained on the data set that `images` is a copy of, or on images of its val or test part."""
    return _same_data(images, weights) or bool(_known(images, weights))


def _same_data(images: Images, weights: Weights) -> bool:
    """Whether the weights were trained on the data set that `images` is a copy of, now or at any time before.

    Where the bytes of some images are on record, those of the others would be: then the record decides, not the name.
    """
    if not images.origin:
        return False
    record = weights.record
    named = images.origin in record.by_name or weights.trained_on == images.origin
    return named or (images.origin in record.trained_on and not any(record.part_of(ref.sha256) for ref in images.refs))


def _known(images: Images, weights: Weights) -> list[tuple[ImageRef, str]]:
    """The val and test images whose scores the weights spoil, each with how it is known if not by its bytes."""
    if weights.seen is None:
        return []
    found = [(ref, "") for ref in images.refs if _spoiled(ref, weights.seen)]
    if weights.seen.split == images.only("train", "val").digest:
        return found  # the same split: it has kept what looks alike together, or said where not
    same, judging = {ref.sha256 for ref, _ in found}, images.only("val", "test")
    alike, _ = by_look(judging, weights.seen)
    fresh = [ref for ref in judging.refs if ref.sha256 in alike and ref.sha256 not in same and weights.seen.part_of(ref.sha256) is None]
    return found + [(ref, f", {alike[ref.sha256]}") for ref in fresh if ref.part == "test" or not alike[ref.sha256].endswith(" val")]


def _spoiled(ref: ImageRef, seen: SeenImages) -> bool:
    """Whether a judging image was seen at all, or a selecting one trained on."""
    match ref.part:
        case "test":
            return seen.part_of(ref.sha256) is not None
        case "val":
            return seen.part_of(ref.sha256) not in (None, "val")
        case _:
            return False


def _for_training(known: Preprocess, arch: str, size: int | None) -> Preprocess:
    """The Preprocess of the weights, at the input size `size`.

    Raises:
        InputError: gray or rectangular inputs.
    """
    if known.color != "RGB":
        raise InputError(
            f"expected weights of a network with RGB input, found weights of {arch} with {known.color} input. edgetl trains networks "
            "with RGB input, also on gray photos; quantize, export and verify accept models with gray input"
        )
    return known.at(size or known.side)


def _kind(weights: Weights | None) -> str:
    """The kind of the weights for the settings; the weights themselves are an input of the stage, known by content."""
    return "none" if weights is None else weights.source.split(":")[0]
