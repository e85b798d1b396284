"""What network inputs show, as the rows of an .npz: one or three channels are taken for a picture."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from edgetl.data.fingerprint import HASH_SIDE, Fingerprint
from edgetl.data.near import groups_of
from edgetl.data.thumbs import SIDE

LEAST_SIDE = 8  # pixels: of smaller pictures too little is seen
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue: as files become gray (ITU-R BT.601)
WAVES_SIDE = 4 * HASH_SIDE  # pixels that imagehash's `phash` takes its frequencies of
UNKNOWN = "0" * (HASH_SIDE**2 // 4)  # thumbnails are compared, not hashes


def are_pictures(shape: Sequence[int]) -> bool:
    """Whether rows of an array [n, c, h, w] can be compared as pictures."""
    return shape[1] in (1, 3) and min(shape[2:]) >= LEAST_SIDE


def groups_of_rows(blocks: Iterable[NDArray[np.float32]], hashes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The groups of near-duplicates, each of two or more, by sha256, sorted; as `Images.groups_here`.

    Args:
        blocks: the rows, float32 [k, c, h, w] each, whatever their scale: a correlation does not know it.
        hashes: sha256 of every row.
    """
    looks = fingerprints_of_rows(blocks)
    members: dict[int, list[str]] = defaultdict(list)  # with copies, which count as often as they come
    for sha, group in zip(hashes, groups_of(looks).tolist(), strict=True):
        members[group].append(sha)
    return tuple(sorted(tuple(sorted(group)) for group in members.values() if len(group) > 1))


def fingerprints_of_rows(blocks: Iterable[NDArray[np.float32]]) -> list[Fingerprint]:
    """The thumbnail of every row, without a hash; empty where rows are no pictures.

    Args:
        blocks: the rows, float32 [k, c, h, w] each, whatever their scale.
    """
    return [Fingerprint(bits=UNKNOWN, thumb=_thumb(row)) for block in blocks if are_pictures(block.shape) for row in block]


def looks_of_rows(blocks: Iterable[NDArray[np.float32]], hashes: Sequence[str]) -> dict[str, str]:
    """sha256 -> perceptual hash of every row, 64 hex digits, as that of a file; none where rows are no pictures, or blank.

    Args:
        blocks: the rows, float32 [k, c, h, w] each, whatever their scale: the signs of the frequencies do not know it.
        hashes: sha256 of every row.
    """
    looks: dict[str, str] = {}
    at = 0
    for block in blocks:
        if not are_pictures(block.shape):
            return {}
        for sha, gray in zip(hashes[at : at + len(block)], _gray(block), strict=True):
            if np.ptp(gray) > 0:
                looks[sha] = _hash(gray)
        at += len(block)
    return looks


def _gray(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """[k, 1 or 3, h, w] -> [k, h, w]."""
    return block[:, 0] if block.shape[1] == 1 else np.tensordot(LUMA, block, axes=(0, 1)).astype(np.float32)


def _hash(gray: NDArray[np.float32]) -> str:
    """As imagehash's `phash`, of a picture [h, w]: its frequencies (discrete cosine transform, type II) that are above their median."""
    small = np.asarray(Image.fromarray(gray).resize((WAVES_SIDE, WAVES_SIDE), Image.Resampling.LANCZOS))
    low = dctn(small, type=2)[:HASH_SIDE, :HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes().hex()


def _thumb(row: NDArray[np.float32]) -> str:
    """As `thumb_of`, of a row [c, h, w]: its darkest pixel is 0, its brightest 255."""
    small = np.asarray(Image.fromarray(row.mean(axis=0)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    scaled = (small - small.min()) * (255 / max(float(small.max() - small.min()), 1e-12))
    return base64.b64encode(scaled.round().astype(np.uint8).tobytes()).decode()
