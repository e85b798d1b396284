"""Which part of a data set a name means: `Training`, `seg_test`, `val2017`, `TRAIN_IMAGES`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgetl.data.images import Part

WORDS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
NEUTRAL = frozenset(
    {
        *("set", "sets", "data", "dataset", "split", "folder", "sample", "samples"),
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics"),
    }
)
JOINED = re.compile(f"({'|'.join(sorted(WORDS, key=len, reverse=True))})({'|'.join(sorted(NEUTRAL, key=len, reverse=True))})")
BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])|[\W_]+")
# Names that people give to batches of one kind of photo: with a number, or a date.
BATCH_NAME = re.compile(r"[a-z]+[\W_]*\d+|\d{4,}|\d+([\W_]\d+)+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PartName:
    """A name that means a part, and what else it says: `seg_train` is the train part of `seg`."""

    part: Part
    rest: tuple[str, ...] = ()


def part_name(name: str) -> PartName | None:
    """The part that `name` means, and the rest of the name; None if it means no part, or several."""
    words = [word for piece in BORDER.split(name) for word in JOINED.sub(r"\1 \2", piece.lower()).split()]
    parts = [WORDS[word] for word in words if word in WORDS]
    if len(parts) != 1:
        return None
    return PartName(part=parts[0], rest=tuple(word for word in words if word not in WORDS and word not in NEUTRAL))


def part_of(name: str) -> Part | None:
    """The part that `name` means and nothing else."""
    found = part_name(name)
    return found.part if found and not found.rest else None


def says_nothing(name: str) -> bool:
    """Whether `name` is of the kind of `images` or `data_set`: a wrapping, no class."""
    words = [word for word in BORDER.split(name.lower()) if word]
    return bool(words) and NEUTRAL.issuperset(words)


def alike(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two folders hold so much the same folders that they look like parts; numbered batches say nothing."""
    a, b = ({name.casefold() for name in names if not BATCH_NAME.fullmatch(name)} for names in (first, second))
    return len(a & b) > 1 and 2 * len(a & b) >= len(a | b)
