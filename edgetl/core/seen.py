"""The record of the images that a model has seen. It keeps test sets clean after the model has left its run folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError
from edgetl.core.seenfilter import SeenFilter

PREFIX_BYTES = 8  # of each sha256: among a million images, a chance collision has odds of 3 in 100 million
LOOK_BYTES = 8  # of what an image looks like: the signs of its 8 x 8 lowest frequencies
HASH_SIDE, LOOK_SIDE = 16, 8  # a whole perceptual hash has 16 x 16 signs
MOST_FILTER_BYTES, MOST_LOOKS = 3072, 256  # of a compact record: what an ONNX file can carry without growing by more than 7 kB
UNNAMED = "the unnamed data"  # what weights were trained on that do not say it
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """The images a model was trained, selected or calibrated on, by the first bytes of their sha256.

    Attributes:
        split: digest of the split (`Images.digest`) they come from.
        parts: part name ("train", "val", "calibration") -> the first 16 hex digits of each image's sha256.
        looks: part name -> what its images look like, 16 hex digits each, as `short_look` makes them.
        bytes_only: parts that hold images whose look is not on record: copies that were saved again are not known there.
        filters: of a compact record, instead of `parts`.
        rows: parts that hold rows of an .npz: these have no image file.
        trained_on: names of the data sets behind the model, of weights that it started from too; the first comes first.
        by_name: those of them whose images are not on record.
    """

    split: str
    parts: Mapping[str, frozenset[str]]
    looks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    bytes_only: frozenset[str] = frozenset()
    filters: tuple[SeenFilter, ...] = ()
    rows: frozenset[str] = frozenset()
    trained_on: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()

    @staticmethod
    def of(split: str, *, looks: Mapping[str, str] = NOTHING, rows: bool = False, **parts: Iterable[str]) -> SeenImages:
        """From whole sha256s, a part each.

        Args:
            split: digest of the split.
            looks: sha256 -> whole perceptual hash, 64 hex digits, of images where it is known.
            rows: whether the sha256s are those of rows of an .npz.
            parts: sha256s of each part.
        """
        given = {name: tuple(shas) for name, shas in parts.items()}
        looked = {name: frozenset(short_look(looks[sha]) for sha in shas if sha in looks) for name, shas in given.items()}
        return SeenImages(
            split=split,
            parts={name: frozenset(sha[: 2 * PREFIX_BYTES] for sha in shas) for name, shas in given.items()},
            looks={name: found for name, found in looked.items() if found},
            bytes_only=frozenset() if rows else frozenset(name for name, shas in given.items() if any(sha not in looks for sha in shas)),
            rows=frozenset(name for name, shas in given.items() if shas) if rows else frozenset(),
        )

    def also(self, *, looks: Mapping[str, str] = NOTHING, rows: bool = False, **parts: Iterable[str]) -> SeenImages:
        """The same with more images, whole sha256s, a part each; rows of an .npz are not mixed with the image files of a part."""
        named = {f"{name} rows" if rows and self._holds_files(name) else name: shas for name, shas in parts.items()}
        return self.beside(SeenImages.of(self.split, looks=looks, rows=rows, **named))

    def beside(self, other: SeenImages | None) -> SeenImages:
        """The same with what `other`, the record of the weights it started from or of another model, holds."""
        if other is None:
            return self
        return SeenImages(
            split=self.split,
            parts=_joined(self.parts, other.parts),
            looks=_joined(self.looks, other.looks),
            bytes_only=self.bytes_only | other.bytes_only,
            filters=tuple(dict.fromkeys((*self.filters, *other.filters))),
            rows=self.rows | other.rows,
            trained_on=tuple(dict.fromkeys((*other.trained_on, *self.trained_on))),
            by_name=tuple(dict.fromkeys((*other.by_name, *self.by_name))),
        )

    def knowing(self, name: str) -> SeenImages:
        """The same of a model that was first trained on the data set `name`, whose images are not on record."""
        return self.beside(SeenImages(split=self.split, parts={}, trained_on=(name,), by_name=(name,)))

    @property
    def digest(self) -> str:
        """sha256 of the record."""
        return digest_of(self.to_json())

    @property
    def kept(self) -> tuple[str, ...]:
        """The parts that have an image on record, sorted."""
        return tuple(sorted({name for name, seen in self.parts.items() if seen} | {found.part for found in self.filters}))

    @property
    def knows_training(self) -> bool:
        """Whether any image is on record as trained on, not only as calibrated or selected on."""
        return any(part.split()[0] == "train" for part in self.kept)

    def part_of(self, sha256: str) -> str | None:
        """The part that holds the image, or None if it was not seen. A filter may be wrong in one of `1 / false_positive_rate` images."""
        prefix = sha256[: 2 * PREFIX_BYTES]
        held = next((name for name, seen in sorted(self.parts.items()) if prefix in seen), None)
        return held or next((found.part for found in self.filters if prefix in found), None)

    def is_in(self, part: str, sha256: str) -> bool:
        """Whether the image was seen as one of `part`, whatever other parts hold it too."""
        prefix = sha256[: 2 * PREFIX_BYTES]
        return prefix in self.parts.get(part, frozenset()) or any(prefix in found for found in self.filters if found.part == part)

    @property
    def false_positive_rate(self) -> float:
        """The odds that an image is taken for one on record and is none, because a filter is wrong; a fraction."""
        return float(1 - np.prod([1 - found.false_positive_rate for found in self.filters])) if self.filters else 0.0

    def compact(self) -> SeenImages:
        """The record in at most about 7 kB, for the metadata of a file: filters for lists, looks where they are few.

        The filters hold every image. Calibration images that are in train already are not held twice.
        """
        sets = {name: self._beyond_train(name, seen) for name, seen in sorted(self.parts.items())}
        total = max(1, sum(map(len, sets.values())))
        made = tuple(SeenFilter.of(name, seen, MOST_FILTER_BYTES * len(seen) // total) for name, seen in sets.items() if seen)
        few = sum(map(len, self.looks.values())) <= MOST_LOOKS
        looks: Mapping[str, frozenset[str]] = self.looks if few else {}
        lost = frozenset() if few else frozenset(self.looks)
        return replace(self, parts={}, looks=looks, bytes_only=self.bytes_only | lost, filters=(*self.filters, *made))

    def to_json(self) -> str:
        """One line: prefixes sorted, joined, base64. What is empty is left out, so that older records are written as they were."""
        said: dict[str, object] = {"split": self.split, "sha256_prefix_bytes": PREFIX_BYTES, "parts": _packed(self.parts)}
        files = frozenset(self.kept) - self.rows
        said |= {"looks": _packed(self.looks)} if self.looks or (files - self.bytes_only) else {}
        said |= {"bytes_only": sorted(self.bytes_only)} if self.bytes_only and "looks" in said else {}
        said |= {"filters": [found.to_json() for found in self.filters]} if self.filters else {}
        said |= {name: list(names) for name in ("trained_on", "by_name") if (names := getattr(self, name))}
        said |= {"rows": sorted(self.rows)} if self.rows else {}
        return json.dumps(said, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> SeenImages:
        """What `to_json` wrote, or an older edgetl without looks.

        Raises:
            InputError: it was not written by `to_json`.
        """
        try:
            data = json.loads(text)
            width = int(data["sha256_prefix_bytes"])
            if width != PREFIX_BYTES:
                raise ValueError(f"prefixes of {width} bytes")
            read = SeenImages(
                split=str(data["split"]),
                parts=_unpacked(data["parts"], width),
                looks=_unpacked(data.get("looks", {}), LOOK_BYTES),
                bytes_only=_names(data, "bytes_only"),
                filters=tuple(SeenFilter.from_json(said) for said in data.get("filters", [])),
                rows=_names(data, "rows"),
                trained_on=tuple(map(str, data.get("trained_on", []))),
                by_name=tuple(map(str, data.get("by_name", []))),
            )
            return read if "looks" in data else replace(read, bytes_only=frozenset(read.kept) - read.rows)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"expected a record of the images that a model was trained on, found other content: {error}") from error

    def _beyond_train(self, part: str, seen: frozenset[str]) -> frozenset[str]:
        return seen if part == "train" else frozenset(prefix for prefix in seen if not self.is_in("train", prefix))

    def _holds_files(self, part: str) -> bool:
        return part in self.kept and part not in self.rows


def short_look(bits: str) -> str:
    """The signs of the 8 x 8 lowest frequencies, 16 hex digits, of a perceptual hash of 16 x 16, 64 hex digits."""
    signs = np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)).reshape(HASH_SIDE, HASH_SIDE)
    return np.packbits(signs[:LOOK_SIDE, :LOOK_SIDE]).tobytes().hex()


def _joined(one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {
        name: one.get(name, frozenset()) | other.get(name, frozenset()) for name in [*one, *(name for name in other if name not in one)]
    }


def _packed(sets: Mapping[str, frozenset[str]]) -> dict[str, str]:
    return {name: base64.b64encode(bytes.fromhex("".join(sorted(items)))).decode() for name, items in sets.items()}


def _unpacked(packed: Mapping[str, str], width: int) -> dict[str, frozenset[str]]:
    """Each part as hex digits of `width` bytes."""
    texts = {name: base64.b64decode(text, validate=True).hex() for name, text in packed.items()}
    if broken := [name for name, text in texts.items() if len(text) % (2 * width)]:
        raise ValueError(f"torn entries in {', '.join(broken)}")
    return {name: frozenset(text[i : i + 2 * width] for i in range(0, len(text), 2 * width)) for name, text in texts.items()}


def _names(data: Mapping[str, object], key: str) -> frozenset[str]:
    found = data.get(key, [])
    if not isinstance(found, list):
        raise TypeError(f"{key} is no list")
    return frozenset(map(str, found))
