"""Image files on disk: which files count as images, and the content of a folder or list before any file is read."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.core.foreign import visible
from edgetl.core.progress import say
from edgetl.data.images import Part
from edgetl.data.leftout import is_own
from edgetl.data.leftout import leftout_line as left_out

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".hif", ".avif", ".webp", ".png", ".apng", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k"),
    }
)
CULPRITS_SHOWN = 100


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
            raise InputError(f"expected a readable image at {path}, found none ({error.strerror}). Restore it, or leave it out") from error


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One image file, its class, and the part it was brought in (None: edgetl splits)."""

    where: str
    label: str
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The files and classes that a folder or a CSV names, before any image is read.

    Attributes:
        name: for people.
        root: `where` of each item is relative to it.
        groups: every (part, class) that is there, the empty ones too.
        problems: what is wrong with it, a block of text each.
        ignored: number of files that are not images.
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
class FoundFiles:
    """What lies in a folder and below: image files, the number of other files, folders that cannot be read.

    Attributes:
        tools: folders of other tools, which are left out.
        own: folders that edgetl wrote, which are left out.
    """

    images: tuple[Path, ...]
    others: int
    unreadable: tuple[str, ...]
    tools: tuple[Path, ...] = ()
    own: tuple[Path, ...] = ()


def is_image(name: str) -> bool:
    """Whether a file of that name is meant as an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def class_name(text: str) -> str:
    """The name of a class as composed Unicode (NFC): macOS hands out `é` as two characters, other systems as one.

    Python that was started without UTF-8 (`PYTHONUTF8=0` in the C locale) hands out each byte of `é` as a surrogate.
    """
    with suppress(UnicodeError):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8")
    return unicodedata.normalize("NFC", text)


def native(text: str) -> str:
    """A path that was written as UTF-8, so that this Python opens the file."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def is_one_line(name: str) -> bool:
    """Whether a class of that name can stand in labels.txt: no line breaks, no control characters, nothing but Unicode."""
    return len(name.splitlines()) == 1 and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def find_images(folder: Path) -> FoundFiles:
    """All image files in `folder` and below, in the order of their names; links are followed, loops are not.

    Folders of other tools and those that edgetl wrote are left out; not `folder` itself, which was asked for.
    """
    images: list[Path] = []
    others = 0
    unreadable: list[str] = []
    tools: list[Path] = []
    own: list[Path] = []
    start = Path(os.path.realpath(folder))
    seen = {start, *start.parents}
    for at, names, files in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.append(f"{error.filename}: {error.strerror}")
    ):
        kept, of_tools, of_edgetl = sorted_out([Path(at) / name for name in sorted(names)])
        names[:] = [path.name for path in _unseen(kept, seen)]
        tools += of_tools
        own += of_edgetl
        shown = sorted(name for name in files if visible(name))
        images += [Path(at) / name for name in shown if is_image(name)]
        others += sum(not is_image(name) for name in shown)
    return FoundFiles(images=tuple(images), others=others, unreadable=tuple(unreadable), tools=tuple(tools), own=tuple(own))


def sorted_out(folders: Iterable[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders that count, those of other tools, and those that edgetl wrote."""
    kept: list[Path] = []
    tools: list[Path] = []
    own: list[Path] = []
    for folder in folders:
        home = tools if not visible(folder.name) else own if is_own(folder) else kept
        home.append(folder)
    return kept, tools, own


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that count, by name; links back to the folder itself or above do not."""
    real = Path(os.path.realpath(folder))
    above = {real, *real.parents}
    kept, _, _ = sorted_out(path for path in sorted(folder.iterdir()) if path.is_dir())
    return [path for path in kept if Path(os.path.realpath(path)) not in above]


def left_out_of(folder: Path) -> FoundFiles:
    """The folders that `subfolders` leaves out."""
    _, tools, own = sorted_out(path for path in sorted(folder.iterdir()) if path.is_dir())
    return FoundFiles(images=(), others=0, unreadable=(), tools=tuple(tools), own=tuple(own))


def _unseen(folders: Iterable[Path], seen: set[Path]) -> Iterator[Path]:
    """The folders that no link has led to before."""
    for folder in folders:
        real = Path(os.path.realpath(folder))
        if real not in seen:
            seen.add(real)
            yield folder


def tell_left_out(name: str, root: Path, found: Iterable[FoundFiles]) -> None:
    """Say in one line which folders below `root` were left out, if any."""
    every = list(found)
    if said := left_out(root, (path for one in every for path in one.tools), (path for one in every for path in one.own)):
        say(f"{name}: {said}")


def block(headline: str, culprits: Sequence[object]) -> list[str]:
    """One problem as a list of at most one text: the headline and a line per culprit; nothing without culprits."""
    return [f"{headline}:\n{listing(culprits, CULPRITS_SHOWN)}"] if culprits else []


def refuse(what: str, problems: Sequence[str]) -> None:
    """Raise one InputError for all problems, or do nothing if there are none."""
    if problems:
        raise InputError(f"expected images that can be used in {what}, found:\n" + "\n".join(f"- {problem}" for problem in problems))
