"""A survey of images before work on them begins: how deep their 16-bit files are, and how much of the photos the network gets to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from edgetl.core.errors import InputError
from edgetl.core.imagefile import IMAGE_HEAD_BYTES, Depth, depth_of, may_be_deep, upright_size
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.data.images import SIDE_SAMPLES, Images

LEAST_KEPT = 2 / 3  # of the median photo; below, people are told
UNUSABLE_BITS = 12  # color files filled up to here are nearly black, and what they hold is not there to be scaled
CHOICE = "--resize squash keeps all of it, distorted; --resize pad keeps all of it, between bands"
HINT = 'If the model was trained on whole photos, say so in its preprocessing with "fit": "squash" or "pad"'
Size = tuple[int, int]  # width, height


def surveyed(images: Images, preprocess: Preprocess, advice: str = HINT) -> Preprocess:
    """The Preprocess adapted to these images, after a message about its effect on them.

    Raises:
        InputError: color files of 16 bits of which nearly nothing can be seen.
    """
    tell_crop(images.name, images.sizes, preprocess, advice)
    return with_depth(images, preprocess)


def with_depth(images: Images, preprocess: Preprocess) -> Preprocess:
    """The Preprocess with the depth of these images, after a message about it.

    Raises:
        InputError: color files of 16 bits of which nearly nothing can be seen.
    """
    tell_depth(images.name, images.depth, preprocess)
    return deepened(preprocess, images.depth, images.name)


def surveyed_files(paths: Sequence[Path], preprocess: Preprocess) -> Preprocess:
    """As `surveyed`, for files; those that cannot be read are passed over."""
    some = paths[:: max(1, len(paths) // SIDE_SAMPLES)]
    tell_crop("these images", list(_readable(upright_size, some)), preprocess)
    depth = deepest(_readable(depth_of, filter(_may_be_deep, paths))) if preprocess.bits != 16 else None
    tell_depth("these images", depth, preprocess)
    return deepened(preprocess, depth, "these images")


def tell_crop(name: str, sizes: Sequence[Size], preprocess: Preprocess, advice: str = HINT) -> None:
    """Report it if the network sees less than two thirds of the median photo."""
    kept = sorted((preprocess.share_kept(*size), size) for size in sizes)
    if not kept or median(share for share, _ in kept) >= LEAST_KEPT:
        return
    share, (width, height) = kept[len(kept) // 2]
    say(f"{name}: the center crop keeps {share:.0%} of the median photo ({width} x {height} pixels). {advice}")


def deepest(depths: Iterable[Depth | None]) -> Depth | None:
    """The depth of many files together; None if none of them has 16 bits per channel."""
    found: Depth | None = None
    for depth in depths:
        found = found if depth is None else depth.beside(found)
    return found


def deepened(preprocess: Preprocess, depth: Depth | None, name: str) -> Preprocess:
    """The Preprocess with the number of bits that 16-bit files use, if there are such files and it does not have it yet.

    Raises:
        InputError: color files of 16 bits of which nearly nothing can be seen.
    """
    if depth is None or preprocess.bits is not None:
        return preprocess
    if depth.color and depth.bits <= UNUSABLE_BITS:
        raise InputError(
            f"expected 16-bit color images that use all 16 bits, found no value above {depth.largest} in {name} ({depth.bits} bits). "
            f"edgetl reads only the high byte of 16-bit color, so these images would be nearly black. "
            f"Save them with 8 bits per channel (divide the values by {1 << (depth.bits - 8)})"
        )
    return preprocess if depth.color else replace(preprocess, bits=depth.bits)


def tell_depth(name: str, depth: Depth | None, preprocess: Preprocess) -> None:
    """Report it if 16-bit files use fewer bits, or hold more than the Preprocess says."""
    if depth is None:
        return
    held, bits = f"{name}: 16-bit images hold values up to {depth.largest}", preprocess.bits
    if bits is None and depth.bits < 16:
        said = f'so they hold {depth.bits} bits: {(1 << depth.bits) - 1} is taken for white ("bits": {depth.bits} in the preprocessing)'
        say(f"{held}, {said}")
    elif bits is not None and depth.largest >> bits:
        say(f'{held}, but the preprocessing has "bits": {bits}: values above {(1 << bits) - 1} become white')
    elif bits is not None and depth.bits <= UNUSABLE_BITS < bits:
        say(f'{held}, but the preprocessing has "bits": {bits}: they become nearly black')


def _may_be_deep(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return may_be_deep(stream.read(IMAGE_HEAD_BYTES))
    except OSError:
        return False


def _readable(look: Callable[[bytes], Any], paths: Iterable[Path]) -> Iterator[Any]:
    for path in paths:
        with suppress(InputError, OSError):
            yield look(path.read_bytes())
