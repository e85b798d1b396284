"""The documented defaults: which teacher, which student and which input size `auto` means.

| images (median shorter side)       | teacher                             | input  | student                                      |
|------------------------------------|-------------------------------------|--------|----------------------------------------------|
| up to 16 px                        | cifar_resnet16, embedded            | 32 px  | edge_small; edge_medium from 20,000 on       |
| 17 to 64 px                        | cifar_resnet16, embedded            | 32 px  | pruned; edge_medium from 20,000 on           |
| 65 to 159 px                       | efficientnet_lite0, installed       | 160 px | efficientnet_lite0_early, 160 px             |
| 160 px and more                    | efficientnet_lite2, installed       | 260 px | efficientnet_lite0_short, 52% of it, 224 px  |
| photos, these packages missing     | resnet18, published (128 px: small) | 224 px | pruned                                       |
| photos, nothing to download either | cifar_resnet16, embedded            | 64 px  | pruned                                       |

52% are for two classes: a larger head leaves less to the rest.
What they were chosen by is in docs/adr/0024 to 0026, 0046 and 0051. Networks for photos have ReLU or ReLU6 and no
squeeze-and-excite, so that int8 keeps their answers. `pruned` is the teacher, narrower: it inherits what pretraining gave, which a few
hundred photos cannot teach a network that starts from nothing. A teacher that cannot be pruned gets edge_medium, or edge_large from
20,000 images on. Epochs follow from the number of images (`edgetl.settings`, `epochs_for`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgetl.core.preprocess import Preprocess, imagenet
from edgetl.models.build import OWN_NAMES, build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.packaged import packaged, packaged_preprocess
from edgetl.models.published import published_preprocess
from edgetl.settings import ADAPTED_SIDE

TINY_SIDE = 16  # px: up to here, images show shapes such as digits, which a small network learns from a thousand of them
SMALL_SIDE = 64  # px: up to here, a network for small images sees all there is
LARGE_SIDE = 160  # px: from here on, 224 px shows more than 128 px
MANY_IMAGES = 20_000
SMALL_INPUT, FALLBACK_INPUT, MIDDLE_INPUT, LARGE_INPUT = 32, 64, 128, 224  # px
LITE_INPUT = ADAPTED_SIDE  # for photos below LARGE_SIDE
MOST_KB = 1000.0  # of a student, unless a budget says more
SHORT_NETWORK = "efficientnet_lite0_short"
EARLY_NETWORK = "efficientnet_lite0_early"
SHORT_PARAMETERS = 880_000  # of which an int8 file has less than MOST_KB: 982 to 988 kB were seen
WeightSource = Literal["installed", "published", "embedded"]


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """An architecture by name, its input size in pixels, and why, in one line; `keep`: the share of its parameters, if it is pruned."""

    arch: str
    image_size: int
    reason: str
    keep: float | None = None


def choose_teacher(side: int, images: int, *, source: WeightSource = "installed") -> NetworkChoice:
    """The teacher for `images` images whose median shorter side is `side` pixels, with weights from `source`."""
    if side <= SMALL_SIDE:
        return NetworkChoice(
            arch="cifar_resnet16",
            image_size=SMALL_INPUT,
            reason=f"the images have {side} px; this network was pretrained on images of {SMALL_INPUT} px",
        )
    large, photos = side >= LARGE_SIDE, f"{images} photos of {side} px"
    match source:
        case "installed" if large:
            reason = f"{photos}; of the installed networks its frozen features gave the best linear classifier"
            return NetworkChoice(arch="efficientnet_lite2", image_size=260, reason=reason)
        case "installed":
            reason = f"{photos}; larger inputs would show no more detail, and all layers of this one can be trained"
            return NetworkChoice(arch="efficientnet_lite0", image_size=LITE_INPUT, reason=reason)
        case "published":
            reason = f"{photos}; a CPU trains it in minutes, and it loses little in int8"
            return NetworkChoice(arch="resnet18", image_size=LARGE_INPUT if large else MIDDLE_INPUT, reason=reason)
        case "embedded":
            reason = f"{images} photos, and no other weights are available; its input is twice as large as in pretraining"
            return NetworkChoice(arch="cifar_resnet16", image_size=FALLBACK_INPUT, reason=reason)


def choose_student(
    teacher_arch: str, image_size: int, images: int, classes: int, *, side: int = LARGE_SIDE, prunable: bool = True
) -> NetworkChoice:
    """The student of a teacher with inputs of `image_size` pixels, trained on `images` images; it sees the same size, or less.

    `side` is the median shorter side of the images, pixels; `prunable` says whether the teacher can be made narrower.
    """
    if teacher_arch.startswith("efficientnet_lite") and image_size > SMALL_SIDE:
        return _early_student(image_size) if side < LARGE_SIDE else _short_student(image_size, classes)
    small, many = image_size < SMALL_SIDE, images >= MANY_IMAGES
    if prunable and not (small and (many or side <= TINY_SIDE)):
        return NetworkChoice(arch="pruned", image_size=image_size, reason=_why_pruned(images, small))
    match small, many:
        case True, False:
            arch, what = "edge_small", "65 thousand weights are enough"
        case False, True:
            arch, what = "edge_large", "1 million weights have enough images to learn from"
        case _:
            arch, what = "edge_medium", "250 thousand weights"
    reason = f"{images} images at {image_size} px: {what}; it loses less in int8 than {teacher_arch}"
    return NetworkChoice(arch=arch, image_size=image_size, reason=reason)


def _why_pruned(images: int, small: bool) -> str:
    found = ". Of 2,000 CIFAR-10 pictures its int8 file of 0.24 MB was right on 84%, that of --student edge_small, 0.08 MB, on 62%"
    return f"with {images} images, a pruned teacher scores higher than a network that starts from random weights{found if small else ''}"


def _early_student(image_size: int) -> NetworkChoice:
    reason = (
        "it is pretrained on ImageNet and ends at maps of 1/16 of the image, which is as deep as images with little detail need. Of "
        "1,200 flowers of 128 px its int8 file of 0.43 MB was right on 71%, its teacher on 72%"
    )
    return NetworkChoice(arch=EARLY_NETWORK, image_size=image_size, reason=reason)


def _short_student(image_size: int, classes: int) -> NetworkChoice:
    reason = (
        "it is pretrained on ImageNet and has less than 1 MB in int8. On photos of ants and bees such a student was right on 93% to "
        "94%, one of 0.3 MB (--max-kb 330) on 91%, and the teacher in 5.1 MB (--student same) on 97%"
    )
    keep = math.floor(1000 * SHORT_PARAMETERS / parameter_count(outline(SHORT_NETWORK, classes, image_size))) / 1000
    return NetworkChoice(arch=SHORT_NETWORK, image_size=min(image_size, LARGE_INPUT), keep=keep, reason=reason)


def outline(arch: str, classes: int, image_size: int) -> nn.Module:
    """The network without its numbers."""
    with torch.device("meta"):
        return build(arch, classes, image_size)


def usual_preprocess(arch: str, side: int) -> Preprocess:
    """How images are prepared for a network whose weights do not say it: published for torchvision's, else fit to the images.

    Args:
        arch: a known architecture.
        side: median shorter side of the images, pixels.
    """
    if package := packaged(arch):
        return packaged_preprocess(package)
    if arch.startswith("cifar_") or (arch in OWN_NAMES and side <= SMALL_SIDE):
        return Preprocess(size=SMALL_INPUT, resize=SMALL_INPUT)
    return published_preprocess(arch) or imagenet(LARGE_INPUT)


@dataclass(frozen=True)
class Candidate:
    """A network that may do for photos, by name, and its input size in pixels."""

    arch: str
    image_size: int


def candidates(side: int) -> tuple[Candidate, ...]:
    """The networks with embedded or installed weights, at the sizes worth trying for images whose median shorter side is `side` pixels."""
    small = Candidate("cifar_resnet16", SMALL_INPUT if side <= SMALL_SIDE else FALLBACK_INPUT)
    sizes = (LITE_INPUT,) if side < LARGE_SIDE else (LITE_INPUT, LARGE_INPUT)
    lite0 = [Candidate(arch, size) for arch in (SHORT_NETWORK, "efficientnet_lite0") for size in sizes]
    larger = (Candidate("efficientnet_lite1", 240), Candidate("efficientnet_lite2", 260)) if side >= LARGE_SIDE else ()
    return (small, *lite0, *larger)
