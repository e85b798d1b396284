"""The documented defaults: which teacher, which student and which input size `auto` means.

| images (median shorter side)  | teacher                                               | input  | student                                 |
|-------------------------------|-------------------------------------------------------|--------|-----------------------------------------|
| up to 64 px                   | cifar_resnet16, embedded                              | 32 px  | edge_small; edge_medium from 20,000 on  |
| 65 to 159 px                  | resnet18, published; on a GPU resnet50                | 128 px | pruned                                  |
| 160 px and more               | resnet18, published; on a GPU resnet50                | 224 px | pruned                                  |
| photos, nothing to download   | cifar_resnet16, embedded                              | 64 px  | pruned                                  |

Why residual networks: plain ReLU and no squeeze-and-excite, so that int8 keeps their answers. `pruned` is the teacher, narrower: it
inherits what pretraining gave, which a few hundred photos cannot teach a network that starts from nothing. A teacher that cannot be
pruned gets edge_medium, or edge_large from 20,000 images on. Epochs follow from the number of images (`edgetl.settings`, `epochs_for`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgetl.core.preprocess import Preprocess, imagenet
from edgetl.models.build import OWN_NAMES
from edgetl.models.published import published_preprocess

SMALL_SIDE = 64  # px: up to here, a network for small images sees all there is
LARGE_SIDE = 160  # px: from here on, 224 px shows more than 128 px
MANY_IMAGES = 20_000
SMALL_INPUT, FALLBACK_INPUT, MIDDLE_INPUT, LARGE_INPUT = 32, 64, 128, 224  # px


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An architecture by name, its input size in pixels, and why, in one line."""

    arch: str
    image_size: int
    reason: str


def choose_teacher(side: int, images: int, *, published: bool = True, gpu: bool = False) -> Choice:
    """The teacher for `images` images whose median shorter side is `side` pixels.

    `published` says whether published weights can be had; without, photos go to the embedded network. `gpu`: whether one trains.
    """
    if side <= SMALL_SIDE:
        return Choice(arch="cifar_resnet16", image_size=SMALL_INPUT, reason=f"images of {side} px: the embedded network for small images")
    if not published:
        reason = f"{images} photos, no published weights in reach: the embedded network, at twice the size it was trained at"
        return Choice(arch="cifar_resnet16", image_size=FALLBACK_INPUT, reason=reason)
    size = MIDDLE_INPUT if side < LARGE_SIDE else LARGE_INPUT
    arch, why = ("resnet50", "a GPU trains it in minutes") if gpu else ("resnet18", "a CPU trains it in minutes")
    return Choice(arch=arch, image_size=size, reason=f"{images} photos of {side} px: {why}, and int8 keeps the answers of such networks")


def choose_student(teacher_arch: str, image_size: int, images: int, *, prunable: bool = True) -> Choice:
    """The student of a teacher with inputs of `image_size` pixels, trained on `images` images; it sees the same size.

    `prunable` says whether the teacher can be made narrower.
    """
    small, many = image_size < SMALL_SIDE, images >= MANY_IMAGES
    match small, many:
        case False, _ if prunable:
            reason = f"{images} photos teach a network that inherits the teacher's weights more than one that starts from nothing"
            return Choice(arch="pruned", image_size=image_size, reason=reason)
        case True, False:
            arch, what = "edge_small", "65 thousand weights are enough"
        case False, True:
            arch, what = "edge_large", "1 million weights find enough to learn from"
        case _:
            arch, what = "edge_medium", "250 thousand weights"
    reason = f"{images} images at {image_size} px: {what}; built for int8, where {teacher_arch} is not"
    return Choice(arch=arch, image_size=image_size, reason=reason)


def usual_preprocess(arch: str, side: int) -> Preprocess:
    """How images are prepared for a network whose weights do not say it: published for torchvision's, else fit to the images.

    Args:
        arch: a known architecture.
        side: median shorter side of the images, pixels.
    """
    if arch.startswith("cifar_") or (arch in OWN_NAMES and side <= SMALL_SIDE):
        return Preprocess(size=SMALL_INPUT, resize=SMALL_INPUT)
    return published_preprocess(arch) or imagenet(LARGE_INPUT)
