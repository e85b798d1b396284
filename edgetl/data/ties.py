"""Which images of one set look like one of another, by the rule that keeps near-duplicates in one part of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetl.core.imagefile import decode
from edgetl.core.progress import track
from edgetl.core.threads import in_threads
from edgetl.data.fingerprint import Fingerprint, look_of
from edgetl.data.hashes import DECODED_SIDE
from edgetl.data.images import ImageRef, Images
from edgetl.data.near import NearGroups, grouped


@dataclass(frozen=True, kw_only=True)
class Ties:
    """Images that look like one of another set.

    Attributes:
        tied: indices of those that do.
        groups: of both sets together, with their certainty; the other set comes first.
    """

    tied: frozenset[int]
    groups: NearGroups


def ties(known: Sequence[Fingerprint], others: Sequence[Fingerprint], classes: Sequence[str | None] | None = None) -> Ties:
    """Which of `others` look like one of `known`: they are of one group, or were found directly alike.

    Args:
        known: what is looked for.
        others: where it is looked for.
        classes: of both, those of `known` first; with them, mirrored and turned copies are looked for too (as `grouped`).
    """
    found, count = grouped([*known, *others], classes), len(known)
    leading = set(found.group[:count].tolist())
    led = {index for index, number in enumerate(found.group[count:].tolist()) if number in leading}
    beside = {int(other) - count for one, other in found.pairs if one < count <= other}  # alike to one that does not lead its group
    return Ties(tied=frozenset(led | beside), groups=found)


def fingerprints(images: Images) -> list[Fingerprint]:
    """What each image looks like: as it is known, or as its file shows it.

    Raises:
        InputError: a file that cannot be decoded.
    """
    missing = [ref for ref in images.refs if ref.sha256 not in images.fingerprints]
    if not missing:
        return [images.fingerprints[ref.sha256] for ref in images.refs]
    with track("compare photos", total=len(missing), unit="image") as bar:

        def look(ref: ImageRef) -> Fingerprint:
            found = look_of(decode(images.source.read(ref.where), shorter=DECODED_SIDE))
            bar.advance()
            return found

        made = dict(zip((ref.sha256 for ref in missing), in_threads(look, missing), strict=True))
    return [images.fingerprints.get(ref.sha256) or made[ref.sha256] for ref in images.refs]
