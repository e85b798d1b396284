"""Which images a model has seen: what keeps test sets clean after the model has left its run folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError

PREFIX_BYTES = 8  # of each sha256: among a million images, a chance collision has odds of 3 in 100 million


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """The images a model was trained, selected or calibrated on, by the first bytes of their sha256.

    Attributes:
        split: digest of the split (`Images.digest`) they come from.
        parts: part name ("train", "val", "calibration") -> the first 16 hex digits of each image's sha256.
    """

    split: str
    parts: Mapping[str, frozenset[str]]

    @staticmethod
    def of(split: str, **parts: Iterable[str]) -> SeenImages:
        """From whole sha256s, a part each."""
        return SeenImages(split=split, parts={name: frozenset(sha[: 2 * PREFIX_BYTES] for sha in shas) for name, shas in parts.items()})

    def also(self, **parts: Iterable[str]) -> SeenImages:
        """The same with more images, whole sha256s, a part each."""
        more = SeenImages.of(self.split, **parts).parts
        names = [*self.parts, *(name for name in more if name not in self.parts)]
        return SeenImages(split=self.split, parts={name: self.parts.get(name, frozenset()) | more.get(name, frozenset()) for name in names})

    def beside(self, other: SeenImages | None) -> SeenImages:
        """The same with what `other`, the record of the weights it started from, holds."""
        return self.also(**other.parts) if other else self

    @property
    def digest(self) -> str:
        """sha256 of the record."""
        return digest_of(self.to_json())

    def part_of(self, sha256: str) -> str | None:
        """The part that holds the image, or None if it was not seen."""
        prefix = sha256[: 2 * PREFIX_BYTES]
        return next((name for name, seen in sorted(self.parts.items()) if prefix in seen), None)

    def is_in(self, part: str, sha256: str) -> bool:
        """Whether the image was seen as one of `part`, whatever other parts hold it too."""
        return sha256[: 2 * PREFIX_BYTES] in self.parts.get(part, frozenset())

    def to_json(self) -> str:
        """One line: prefixes sorted, joined, base64."""
        packed = {name: base64.b64encode(bytes.fromhex("".join(sorted(seen)))).decode() for name, seen in self.parts.items()}
        return json.dumps({"split": self.split, "sha256_prefix_bytes": PREFIX_BYTES, "parts": packed}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> SeenImages:
        """What `to_json` wrote.

        Raises:
            InputError: it was not written by `to_json`.
        """
        try:
            data = json.loads(text)
            width = 2 * int(data["sha256_prefix_bytes"])
            if width != 2 * PREFIX_BYTES:
                raise ValueError(f"prefixes of {width // 2} bytes")
            unpacked = {name: base64.b64decode(packed, validate=True).hex() for name, packed in data["parts"].items()}
            parts = {name: frozenset(text[i : i + width] for i in range(0, len(text), width)) for name, text in unpacked.items()}
            return SeenImages(split=str(data["split"]), parts=parts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"expected a record of seen images, found something else: {error}") from error
