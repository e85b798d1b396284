"""A set of images in a few bytes: a Bloom filter, which knows every image that was put in, and takes few others for one of them.

Bloom 1970, "Space/time trade-offs in hash coding with allowable errors": with n entries in m bits and k hashes an entry,
a stranger is taken for a member with odds of about (1 - exp(-k n / m))^k, least at k = (m / n) ln 2.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

ENOUGH_BITS = 32  # an image: a stranger is then taken for a member once in 5 million times
INDEX_BYTES = 4  # of the number that says which bit


@dataclass(frozen=True)
class SeenFilter:
    """The images of one part.

    Attributes:
        part: its name.
        images: how many were put in.
        hashes: bits that are set for each.
        bits: the filter.
    """

    part: str
    images: int
    hashes: int
    bits: bytes

    @staticmethod
    def of(part: str, prefixes: Collection[str], most_bytes: int) -> SeenFilter:
        """A filter of at most so many bytes (at least one) that holds the prefixes, hex digits."""
        size = max(1, min(most_bytes, -(-ENOUGH_BITS * len(prefixes) // 8)))
        hashes = max(1, round(8 * size / len(prefixes) * math.log(2)))
        bits = bytearray(size)
        for prefix in prefixes:
            for place in _places(prefix, hashes, 8 * size):
                bits[place // 8] |= 1 << place % 8
        return SeenFilter(part=part, images=len(prefixes), hashes=hashes, bits=bytes(bits))

    def __contains__(self, prefix: str) -> bool:
        """Whether it was put in, or is taken for one that was."""
        return all(self.bits[place // 8] >> place % 8 & 1 for place in _places(prefix, self.hashes, 8 * len(self.bits)))

    @property
    def false_positive_rate(self) -> float:
        """The odds that a stranger is taken for a member, by Bloom's formula; a fraction."""
        return (1 - math.exp(-self.hashes * self.images / (8 * len(self.bits)))) ** self.hashes

    def to_json(self) -> dict[str, object]:
        """Plain JSON types."""
        return {"part": self.part, "images": self.images, "hashes": self.hashes, "bits": base64.b64encode(self.bits).decode()}

    @staticmethod
    def from_json(said: Mapping[str, object]) -> SeenFilter:
        """What `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it was not.
        """
        bits = base64.b64decode(str(said["bits"]), validate=True)
        images, hashes = said["images"], said["hashes"]
        if not (isinstance(images, int) and isinstance(hashes, int) and bits and images > 0 and 0 < hashes <= 64):
            raise ValueError("a filter without bits, images or hashes")
        return SeenFilter(part=str(said["part"]), images=images, hashes=hashes, bits=bits)


def _places(prefix: str, hashes: int, size: int) -> Iterator[int]:
    """The bits of an image, independent of each other."""
    drawn = hashlib.shake_256(prefix.encode()).digest(INDEX_BYTES * hashes)
    return (int.from_bytes(drawn[i : i + INDEX_BYTES], "big") % size for i in range(0, len(drawn), INDEX_BYTES))
