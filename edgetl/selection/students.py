"""The students to try under a budget of bytes, and how large their int8 files will be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from edgetl.models.channel_groups import parameter_count
from edgetl.selection.candidates import EARLY_NETWORK, MOST_KB, SHORT_NETWORK, SMALL_SIDE, outline

SHORTER_NETWORK = "efficientnet_lite0_shorter"
LITE_STUDENTS = (SHORT_NETWORK, SHORTER_NETWORK, EARLY_NETWORK)
LARGE_STUDENTS = ("efficientnet_lite0", SHORT_NETWORK, EARLY_NETWORK)  # where the shorter network fits whole
EDGE_STUDENTS = ("edge_large", "edge_medium", "edge_small", "edge_tiny")
LEAST_KEEP, MOST_KEEP = 0.12, 0.97  # below, pruning cannot come close; above, it is not worth its loss
LAYER_BYTES, CHANNEL_BYTES, FILE_BYTES = 390, 10, 4_000  # of int8 files, beside a byte a parameter: measured on edgetl's students
RECORD_BYTES, IMAGE_RECORD_BYTES, MOST_RECORD_BYTES = 500, 6, 7_000  # of the record of seen images: at least, an image, at most
KEPT_CHANNELS = {SHORTER_NETWORK: 0.25, EARLY_NETWORK: 0.45}  # exponents, by which `keep` leaves channels
USUAL_KEPT_CHANNELS = 0.33


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A student that may do under a budget.

    Attributes:
        keep: the share of its parameters that pruning leaves; None: all.
        image_size: pixels.
        int8_kb: about how large its int8 file is, 1,000 bytes.
        pretrained: whether it starts from weights.
        inherits: whether it is the teacher, pruned, with the weights that it has learned.
    """

    arch: str
    keep: float | None
    image_size: int
    int8_kb: float
    pretrained: bool = False
    inherits: bool = False


def students_under(
    max_kb: float | None, classes: int, image_size: int, *, images: int = 0, only: str | None = None, pretrained: bool
) -> list[Sized]:
    """The students to try under a budget: of each kind, as much as fits; at most three.

    Args:
        max_kb: of the int8 file, 1,000 bytes; None: as the default student's.
        classes: outputs.
        image_size: of the input, pixels.
        images: to train and select on; the file keeps a record of them.
        only: a network by name, in place of those that would be tried.
        pretrained: whether there are weights: of EfficientNet-Lite0, or of `only`.
    """
    wanted, record = math.inf if max_kb is None else max_kb, _record_bytes(images)
    if only is not None:
        return _pruned_to(only, wanted, classes, image_size, record, pretrained=pretrained)
    found, allowed = [], MOST_KB if max_kb is None else max_kb
    archs = LARGE_STUDENTS if _int8_kb(SHORT_NETWORK, classes, image_size, record)(1.0) <= allowed else LITE_STUDENTS
    for arch in archs if pretrained and image_size > SMALL_SIDE else ():
        found += _pruned_to(arch, allowed, classes, image_size, record, pretrained=True)
    return found or edge_students(wanted, classes, image_size, images=images)[:1]


def pruned_teachers(teacher: str, max_kb: float | None, classes: int, image_size: int, *, images: int) -> list[Sized]:
    """The teacher, pruned as far as the budget asks and never whole; none where that is too far."""
    found = _pruned_to(teacher, MOST_KB if max_kb is None else max_kb, classes, image_size, _record_bytes(images), pretrained=False)
    return [replace(sized, keep=sized.keep or MOST_KEEP, inherits=True) for sized in found]


def edge_students(max_kb: float, classes: int, image_size: int, *, images: int) -> list[Sized]:
    """Edgetl's own students that keep a budget of bytes as they are, the largest first."""
    record = _record_bytes(images)
    edges = [sized for arch in EDGE_STUDENTS for sized in _pruned_to(arch, max_kb, classes, image_size, record, pretrained=False)]
    return [sized for sized in edges if sized.keep is None]


def least_kb(arch: str, classes: int, image_size: int, *, images: int, keep: float = 1.0) -> int:
    """The smallest budget, 1,000 bytes, that the share `keep` of a network keeps (`LEAST_KEEP`: the least that is tried)."""
    return math.ceil(_int8_kb(arch, classes, image_size, _record_bytes(images))(keep))


def _record_bytes(images: int) -> int:
    return min(RECORD_BYTES + IMAGE_RECORD_BYTES * images, MOST_RECORD_BYTES)


def _pruned_to(arch: str, max_kb: float, classes: int, image_size: int, record: int, *, pretrained: bool) -> list[Sized]:
    """The network, pruned as far as the budget asks; none where that is too far."""
    size_kb = _int8_kb(arch, classes, image_size, record)
    shares = [share for share in range(math.ceil(1000 * LEAST_KEEP), 1000) if size_kb(share / 1000) <= max_kb]
    if not shares:
        return []
    whole = size_kb(1.0) <= max_kb
    keep = None if whole else min(shares[-1] / 1000, MOST_KEEP)
    return [Sized(arch=arch, keep=keep, image_size=image_size, int8_kb=size_kb(keep or 1.0), pretrained=pretrained)]


def _int8_kb(arch: str, classes: int, image_size: int, record: int) -> Callable[[float], float]:
    """What share of the parameters gives an int8 file of how many 1,000 bytes: within 2% of real files, and seldom less than they have."""
    model = outline(arch, classes, image_size)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    parameters, channels = parameter_count(model), sum(len(layer.weight) for layer in layers)
    exponent, fixed = KEPT_CHANNELS.get(arch, USUAL_KEPT_CHANNELS), FILE_BYTES + LAYER_BYTES * len(layers) + record
    return lambda keep: (fixed + keep * parameters + CHANNEL_BYTES * channels * keep**exponent) / 1000
