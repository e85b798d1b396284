"""Image files on disk: which files count, where their bytes lie, what a folder or a list names before anything is read."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.data.images import Part

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".hif", ".avif", ".webp", ".png", ".apng", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k"),
    }
)
JUNK_FOLDERS = frozenset({"__MACOSX", "__pycache__"})
CULPRITS_SHOWN = 100
PART_NAMES: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """Image files below `root`; `where` is relative to it (or absolute, in a CSV that says so)."""

    root: Path

    def read(self, where: str) -> bytes:
        """The bytes of one image file.

        Raises:
            InputError: the file is gone or cannot be read.
        """
        path = self.root / where
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(
                f"expected an image at {path}, found none that can be read ({error.strerror}). Put it back or leave it out"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One image file, its class, and the part it was brought in (None: edgetl splits)."""

    where: str
    label: str
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What a folder or a CSV names, before any image is read.

    Attributes:
        name: for people.
        root: `where` of each item is relative to it.
        groups: every (part, class) that is there, the empty ones too.
        problems: what is wrong with it, a block of text each.
        ignored: number of files beside the images that are none.
    """

    name: str
    root: Path
    items: tuple[Labelled, ...]
    groups: frozenset[tuple[Part | None, str]]
    problems: tuple[str, ...] = ()
    ignored: int = 0

    def classes(self, part: Part | None = None) -> tuple[str, ...]:
        """The sorted class names of one part, or of all (None)."""
        return tuple(sorted({label for of, label in self.groups if part is None or of == part}))

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that the user brought; none where edgetl splits."""
        return frozenset(part for part, _ in self.groups if part is not None)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in a folder and below: image files, the number of other files, folders that cannot be read."""

    images: tuple[Path, ...]
    others: int
    unreadable: tuple[str, ...]


def visible(name: str) -> bool:
    """Whether a file or folder of that name counts."""
    return not name.startswith(".") and name not in JUNK_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file of that name is meant as an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def class_name(text: str) -> str:
    """The name of a class as composed Unicode (NFC): macOS hands out `é` as two characters, other systems as one."""
    return unicodedata.normalize("NFC", text)


def is_one_line(name: str) -> bool:
    """Whether a class of that name can stand in labels.txt: no line breaks, no control characters, nothing but Unicode."""
    return len(name.splitlines()) == 1 and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def find_images(folder: Path) -> Found:
    """All image files in `folder` and below, in the order of their names; links are followed, loops are not."""
    images: list[Path] = []
    others = 0
    unreadable: list[str] = []
    start = Path(os.path.realpath(folder))
    seen = {start, *start.parents}
    for at, names, files in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.append(f"{error.filename}: {error.strerror}")
    ):
        names[:] = list(_unseen(Path(at), sorted(names), seen))
        shown = sorted(name for name in files if visible(name))
        images += [Path(at) / name for name in shown if is_image(name)]
        others += sum(not is_image(name) for name in shown)
    return Found(images=tuple(images), others=others, unreadable=tuple(unreadable))


def _unseen(at: Path, names: Sequence[str], seen: set[Path]) -> Iterator[str]:
    """The visible folders that no link has led to before."""
    for name in names:
        real = Path(os.path.realpath(at / name))
        if visible(name) and real not in seen:
            seen.add(real)
            yield name


def block(headline: str, culprits: Sequence[object]) -> list[str]:
    """One problem as a list of at most one text: the headline and a line per culprit; nothing without culprits."""
    return [f"{headline}:\n{listing(culprits, CULPRITS_SHOWN)}"] if culprits else []


def refuse(what: str, problems: Sequence[str]) -> None:
    """Raise one InputError for all problems, or do nothing if there are none."""
    if problems:
        raise InputError(f"expected images that can be used in {what}, found:\n" + "\n".join(f"- {problem}" for problem in problems))
