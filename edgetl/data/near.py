"""Near-duplicates: re-encoded, resized, slightly cropped copies, and bursts. They belong in one part.

What an image looks like is its perceptual hash (imagehash's `phash`: the signs, about their median, of the 16 x 16 lowest
frequencies of the gray image; Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
Bounds were measured on 798 photos (docs/adr/0009-near-duplicates.md): unrelated ones differ in 84 of the 256 bits or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from edgetl.core.progress import track

HASH_SIDE = 16  # the hash has 16 x 16 bits
COPY_BITS = 64  # up to so many differing bits: the same photo
BURST_BITS = 96  # the same scene, if also taken within BURST_S
BURST_S = 5
ROWS = 256  # of the table of distances, at a time
EXIF_IFD, DATE_TIME_ORIGINAL = 0x8769, 0x9003


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an image looks like, and when it was taken.

    Attributes:
        bits: the perceptual hash, 64 hexadecimal digits.
        taken: seconds since 1970 of the camera's own clock, from EXIF; None where the file does not say.
    """

    bits: str
    taken: int | None = None


def look_of(image: Image.Image) -> Look:
    """The look of a decoded image; `image` still carries the EXIF data of its file, if that had any."""
    return Look(bits=str(imagehash.phash(image, hash_size=HASH_SIDE)), taken=taken_at(image))


def taken_at(image: Image.Image) -> int | None:
    """When the photo was taken (EXIF DateTimeOriginal), as seconds of the camera's clock."""
    try:
        said = image.getexif().get_ifd(EXIF_IFD).get(DATE_TIME_ORIGINAL)
        return round((datetime.strptime(str(said), "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)).total_seconds())
    except Exception:  # whatever a damaged or foreign EXIF block makes Pillow say: the time is a hint, no more
        return None


def leaders(looks: Mapping[str, Look]) -> dict[str, str]:
    """sha256 -> the sha256 that leads its group of near-duplicates; an image without any leads itself.

    The photo that was taken first leads, and of those without a time the one with the smallest sha256; so photos that are
    added later do not, as a rule, take over a group.
    """
    order = sorted(looks, key=lambda sha: (looks[sha].taken is None, looks[sha].taken or 0, sha))
    group = groups_of([looks[sha] for sha in order])
    first: dict[int, str] = {}
    return {sha: first.setdefault(int(number), sha) for sha, number in zip(order, group, strict=True)}


def groups_of(looks: Sequence[Look]) -> NDArray[np.int64]:
    """int64 [n]: the number of the group of each image; near-duplicates of near-duplicates are in one group.

    Time grows with the number of pairs (60,000 images: about half a minute), memory only with the number of images.
    """
    group = np.arange(len(looks))
    if len(looks) < 2:
        return group
    signs = np.stack([_signs(look.bits) for look in looks])
    taken = np.array([np.inf if look.taken is None else look.taken for look in looks])
    with track("compare images", total=len(looks), unit="image") as bar:
        for start in range(0, len(looks), ROWS):
            # signs are +1 and -1: their product is the number of equal bits minus the number of different ones
            equal = signs[start : start + ROWS] @ signs[start:].T
            one, other = np.nonzero(equal >= HASH_SIDE**2 - 2 * BURST_BITS)
            with np.errstate(invalid="ignore"):  # inf - inf: neither says when it was taken
                burst = np.abs(taken[start + one] - taken[start + other]) <= BURST_S
            near = burst | (equal[one, other] >= HASH_SIDE**2 - 2 * COPY_BITS)
            group = _joined(group, start + one[near], start + other[near])
            bar.advance(len(equal))
    return group


def _joined(group: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups after the groups of each pair (one[k], other[k]) became one."""
    pairs = csr_array((np.ones(len(one), dtype=bool), (group[one], group[other])), shape=(len(group), len(group)))
    _, joined = connected_components(pairs, directed=False)
    return np.asarray(joined[group], dtype=np.int64)


def _signs(bits: str) -> NDArray[np.float32]:
    """64 hexadecimal digits -> float32 [256] of +1 and -1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)).astype(np.float32) * 2 - 1
