"""Images: labelled images, the part each belongs to, and where their bytes lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetl.core.canonical import ADDED, digest_of
from edgetl.core.imagefile import Depth, upright_size
from edgetl.core.seen import SeenImages

if TYPE_CHECKING:
    from edgetl.data.fingerprint import Fingerprint

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
SIDE_SAMPLES = 64


class Source(Protocol):
    """Where the bytes of images lie."""

    def read(self, where: str) -> bytes:
        """The bytes of one image file.

        Raises:
            InputError: the file is gone or cannot be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """One image: its content, its class, its part, and its place in the source.

    `group` is the sha256 of the image that leads its group of near-duplicates; empty: it looks like no other.
    """

    sha256: str
    label: int
    part: Part
    where: str
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Counts of the files and images that were read, for the report.

    Attributes:
        skipped_images: image files that cannot be decoded, left out because the settings say so.
        ignored_files: files that are no images, by their names.
        exact_copies: images left out because another one of their class and part has the same content.
        near_duplicates: images that look like another one (re-encoded copies, bursts); a group of them stays in one part.
        near_duplicates_across_parts: those that all the same have one like them in another part, because the user put it there
            or because most of their class looks alike.
        near_duplicates_left_out: images that were added to a run and look like earlier ones of two parts.
    """

    skipped_images: int = 0
    ignored_files: int = 0
    exact_copies: int = 0
    near_duplicates: int = 0
    near_duplicates_across_parts: int = 0
    near_duplicates_left_out: int = field(default=0, metadata=ADDED)


@dataclass(frozen=True, kw_only=True)
class Images:
    """An artifact: labelled images in parts. `refs` are sorted by (part, sha256), so that order is content, not names.

    Attributes:
        name: of the data set, for people.
        classes: class names; a label is an index into them.
        flip: whether a mirrored image keeps its label.
        origin: what the images are a copy of, if they are a known data set ("cifar10", "digits", "imagenet1k").
        intake: counts for the report.
        depth: of the files with 16 bits per channel; None if there are none.
        fingerprints: sha256 -> what the image looks like, of those whose look is known.
    """

    name: str
    classes: tuple[str, ...]
    refs: tuple[ImageRef, ...]
    source: Source
    flip: bool = True
    origin: str | None = None
    intake: Intake = Intake()
    depth: Depth | None = None
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.refs)

    @cached_property
    def digest(self) -> str:
        """sha256 over the class names, the sorted (class, sha256, part) of every image, and which of them look alike."""
        rows = sorted((self.classes[ref.label], ref.sha256, ref.part) for ref in self.refs)
        return digest_of([self.classes, rows, self.flip, *([self.groups_here] if self.groups_here else [])])

    def only(self, *parts: Part) -> Images:
        """The images of some parts; a stage that takes these does not rerun when the others change."""
        return replace(self, refs=tuple(ref for ref in self.refs if ref.part in parts))

    def take(self, count: int, seed: int) -> Images:
        """At most `count` images, balanced over classes, chosen by content and seed."""
        ranked = sorted(self.refs, key=lambda ref: digest_of([seed, ref.sha256]))
        turns: dict[int, int] = {}
        order: list[tuple[int, int, ImageRef]] = []
        for position, ref in enumerate(ranked):
            turns[ref.label] = turns.get(ref.label, -1) + 1
            order.append((turns[ref.label], position, ref))
        chosen = sorted((ref for _, _, ref in sorted(order, key=lambda row: row[:2])[:count]), key=lambda ref: (ref.part, ref.sha256))
        return replace(self, refs=tuple(chosen))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """int64 [n]."""
        return np.array([ref.label for ref in self.refs], dtype=np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """int64 [n]: a number for each group of near-duplicates; an image that looks like no other has one of its own."""
        return np.unique([ref.group or ref.sha256 for ref in self.refs], return_inverse=True)[1].astype(np.int64)

    @property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of every image."""
        return tuple(ref.sha256 for ref in self.refs)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of some of the images, pixels; their headers say it."""
        some = self.refs[:: max(1, len(self) // SIDE_SAMPLES)]
        return tuple(upright_size(self.source.read(ref.where)) for ref in some)

    @property
    def groups_here(self) -> tuple[tuple[str, ...], ...]:
        """The groups of near-duplicates among these images, each of two or more, by sha256, sorted."""
        members: dict[str, list[str]] = defaultdict(list)
        for ref in self.refs:
            members[ref.group or ref.sha256].append(ref.sha256)
        return tuple(sorted(tuple(sorted(group)) for group in members.values() if len(group) > 1))

    @cached_property
    def looks(self) -> Mapping[str, str]:
        """sha256 -> perceptual hash of every image whose look is known."""
        return {sha: found.bits for sha, found in self.fingerprints.items()}

    @property
    def doubt(self) -> str | None:
        """What is not known of how independent the images are; None where their looks were compared."""
        blind = sum(ref.sha256 not in self.fingerprints for ref in self.refs)
        words = f"{blind} of {len(self)} images of {self.name} are taken as independent"
        return f"{words}: their looks are not known, so near-duplicates are not looked for among them" if blind else None

    def alike_beyond(self, part: Part) -> tuple[str, ...]:
        """sha256 of the images of `part` that look like one of another part."""
        elsewhere = {ref.group for ref in self.refs if ref.part != part and ref.group}
        return tuple(ref.sha256 for ref in self.refs if ref.part == part and ref.group in elsewhere)

    @property
    def median_side(self) -> int:
        """The median shorter side of some of the images, pixels."""
        return int(np.median([min(size) for size in self.sizes]))

    def read(self, index: int) -> bytes:
        """The bytes of one image file."""
        return self.source.read(self.refs[index].where)

    def seen(self) -> SeenImages:
        """The record for a model that is trained on the train part and selected on the val part."""
        seen = SeenImages.of(self.digest, looks=self.looks, train=self.only("train").hashes, val=self.only("val").hashes)
        return replace(seen, trained_on=(self.origin or self.name,))

    def counts(self) -> dict[str, int]:
        """The number of images in each part."""
        return {part: sum(ref.part == part for ref in self.refs) for part in PARTS}
