"""The embedded default: scikit-learn's handwritten digits, 1797 images of 8x8 gray pixels, ten classes.

They are the test part of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak 1998).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from edgetl.core.errors import InputError
from edgetl.data.files import refuse
from edgetl.data.images import Images, Part
from edgetl.data.splits import Hashed, assign
from edgetl.settings import DataSettings

CLASSES = tuple("0123456789")
RESERVED_PER_CLASS = 6  # for calibration/digits: in no part, ever
TEST_PER_CLASS = 45


@dataclass(frozen=True, kw_only=True)
class MemorySource:
    """Image files that are held in memory."""

    files: Mapping[str, bytes] = field(repr=False)

    def read(self, where: str) -> bytes:
        """The bytes of one image file.

        Raises:
            InputError: there is no such image.
        """
        try:
            return self.files[where]
        except KeyError:
            raise InputError(f"expected an image named {where}, found none among {len(self.files)}") from None


@dataclass(frozen=True, kw_only=True)
class Digit:
    """One image: its number in scikit-learn's order, its class, the bytes of its file and their sha256."""

    number: int
    label: str
    pgm: bytes
    sha256: str

    @property
    def where(self) -> str:
        """Its name in the source."""
        return f"digits/{self.number:04d}.pgm"


@lru_cache(maxsize=1)
def all_digits() -> tuple[Digit, ...]:
    """All images in the order of their sha256, the reserved ones too."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    gray = (np.asarray(loaded.images, dtype=np.int64) * 255 + 8) // 16  # 0..16 -> 0..255, rounded half up
    files = [b"P5\n8 8\n255\n" + image.astype(np.uint8).tobytes() for image in gray]
    digits = [
        Digit(number=number, label=str(label), pgm=pgm, sha256=hashlib.sha256(pgm).hexdigest())
        for number, (label, pgm) in enumerate(zip(loaded.target, files, strict=True))
    ]
    return tuple(sorted(digits, key=lambda digit: digit.sha256))


def reserved_digits() -> tuple[Digit, ...]:
    """The images of calibration/digits: of each class the first by sha256. They are in no part of `digit_images`."""
    return tuple(digit for rank, digit in _ranked(all_digits()) if rank < RESERVED_PER_CLASS)


def digit_images(settings: DataSettings) -> Images:
    """The digits in parts. The test part is always the same 450 images; val is a fold of the rest.

    Raises:
        InputError: shares that leave a class without an image in train or val.
    """
    hashed = [
        Hashed(where=digit.where, label=digit.label, part=_part(rank), sha256=digit.sha256)
        for rank, digit in _ranked(all_digits())
        if rank >= RESERVED_PER_CLASS
    ]
    refs, problems = assign(hashed, CLASSES, settings)
    refuse("digits", problems)
    source = MemorySource(files={digit.where: digit.pgm for digit in all_digits()})
    return Images(name="digits", classes=CLASSES, refs=refs, source=source, flip=False, origin="digits")


def _ranked(digits: Iterable[Digit]) -> list[tuple[int, Digit]]:
    """Each image with its rank by sha256 within its class."""
    counts = dict.fromkeys(CLASSES, 0)
    ranked = []
    for digit in digits:
        ranked.append((counts[digit.label], digit))
        counts[digit.label] += 1
    return ranked


def _part(rank: int) -> Part:
    return "test" if rank < RESERVED_PER_CLASS + TEST_PER_CLASS else "train"
