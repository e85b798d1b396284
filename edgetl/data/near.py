"""Near-duplicates: re-encoded, resized, cropped copies, and bursts. They belong in one part.

How alike two images must be to be of one group depends on how alike two unrelated images of the same set are: photos of one part
under a fixed camera are alike by nature. So random pairs are compared first, and a group is what is far closer than those
(docs/adr/0031-near-duplicates-relative-to-the-set.md, which holds the measurements behind every number here).

What an image looks like is a thumbnail, and a perceptual hash (imagehash's `phash`: the signs, about their median, of the 16 x 16
lowest frequencies of the gray image; Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). Images of
which only the hash is left are compared by that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgetl.core.progress import track
from edgetl.data.fingerprint import HASH_SIDE, Fingerprint
from edgetl.data.nearest import nearest_pairs
from edgetl.data.random_pairs import ALIKE_LIKENESS, COPY, FEWEST_IMAGES, Indices, Tail, some_pairs
from edgetl.data.residuals import Residuals
from edgetl.data.thumbs import Numbers, Pictures, Thumbs, gray_thumbnails
from edgetl.data.turned import TURNED, turned_copies

COPY_BITS = 64  # up to so many differing bits: the same photo; unrelated photos differ in 84 or more
BURST_BITS = 96  # the same scene, if also taken within BURST_S
BURST_S = 5

LEAST, LEAST_BURST = 0.75, 0.65  # likeness below which nothing is called a copy, or a burst
LEAST_LEFT, LEAST_LEFT_BURST = 0.7, 0.6  # the same, of what the mean picture leaves where images are alike by nature
NEAREST = 6  # candidates of each image
WHOLE = 12  # images that may be of one group though its ends are not alike, as where a camera moves on
FURTHER = 64  # comparisons for each image that candidates in groups may take
ROWS = 256  # of the table of distances, at a time
Near = Callable[[Indices], NDArray[np.bool_]]  # pairs [k, 2] -> whether each is of one group


@dataclass(frozen=True, kw_only=True)
class NearGroups:
    """Which images look alike, and how sure that is.

    Attributes:
        group: int64 [n], the number of the group of each image.
        typical: the median likeness of random pairs, in [-1, 1]; None where it was not measured (few images, or hashes alone).
        bound: the likeness from which on two images are of one group.
        by_nature: whether the images are alike by nature, so that likeness is that of what their mean picture does not explain.
        pairs: int64 [k, 2], indices of images that were found directly alike; more may be, within groups.
    """

    group: Indices
    pairs: Indices
    typical: float | None = None
    bound: float = COPY
    by_nature: bool = False

    def certainty(self, alike: int) -> str:
        """How alike images of a group are, beside random pairs, in words; `alike` of them look like another one. Needs `typical`."""
        assert self.typical is not None
        groups = int((np.bincount(self.group) > 1).sum())
        first = (
            "the images are alike by nature, so what their mean picture shows is taken away before they are compared (if they are frames "
            "of a few scenes, parts cannot keep those apart, and scores are too good). "
        ) * self.by_nature
        none = "" if alike else "No near-duplicates found: "
        many = f"{groups} group{'s' * (groups != 1)}, {len(self.pairs)} pair{'s' * (len(self.pairs) != 1)}: " if alike else ""
        chance = (
            "that is rare among pictures of different things of one kind, copies that were cropped or moved can be below it, and mirrored "
            "or turned copies are not looked for"
            if self.by_nature
            else f"extrapolated from these, less than one pair of unrelated images is expected above {self.bound:.2f}"
        )
        return f"{first}{none}{many}they correlate at {self.bound:.2f} or more, random pairs at {self.typical:.2f}; {chance}"


def led(looks: Mapping[str, Fingerprint], classes: Mapping[str, str] | None = None) -> tuple[dict[str, str], NearGroups]:
    """sha256 -> that of the leader of its group (an image alone leads itself), and the groups; `classes` as for `grouped`, by sha256.

    The photo that was taken first leads, and of those without a time the one with the smallest sha256; so photos that are
    added later do not, as a rule, take over a group.
    """
    order = sorted(looks, key=lambda sha: (looks[sha].taken is None, looks[sha].taken or 0, sha))
    found = grouped([looks[sha] for sha in order], None if classes is None else [classes[sha] for sha in order])
    first: dict[int, str] = {}
    return {sha: first.setdefault(int(number), sha) for sha, number in zip(order, found.group, strict=True)}, found


def groups_of(looks: Sequence[Fingerprint]) -> Indices:
    """int64 [n]: the number of the group of each image."""
    return grouped(looks).group


def grouped(looks: Sequence[Fingerprint], classes: Sequence[str | None] | None = None) -> NearGroups:
    """The groups of near-duplicates, of images that are given in the order in which they may lead.

    With `classes`, copies that were mirrored or turned by quarters are of one group too, if they are of one class, or one has none:
    where mirroring makes another class of a picture, it makes no copy. They are not looked for among images that are alike by nature.

    Near-duplicates of near-duplicates are of one group only while it is small (`_stars`). Time grows with the number of pairs (of
    signatures, not of pictures), memory only with the number of images.
    """
    if len(looks) < 2:
        return NearGroups(group=np.arange(len(looks)), pairs=np.empty((0, 2), dtype=np.int64))
    if not all(look.thumb for look in looks):
        return _by_hash(looks)
    gray = gray_thumbnails([look.thumb for look in looks])
    alike, typical, beyond = _compared(gray)
    count, by_nature = len(looks), isinstance(alike, Residuals)
    least, least_burst = (LEAST_LEFT, LEAST_LEFT_BURST) if by_nature else (LEAST, LEAST_BURST)
    bursts = _taken_together(looks)
    bound = max(least, beyond(count * (count - 1) / 2))
    bound_burst = min(bound, max(least_burst, beyond(len(bursts))))

    def near(pairs: Indices) -> NDArray[np.bool_]:
        return alike.likeness(pairs[:, 0], pairs[:, 1]) >= np.where(_together(looks, pairs), bound_burst, bound)

    candidates = np.unique(np.concatenate([nearest_pairs(alike.signs, NEAREST), bursts]), axis=0)
    confirmed = np.zeros(len(candidates), dtype=bool)
    with track("compare images", total=len(candidates), unit="pair") as bar:
        for start in range(0, len(candidates), ROWS * 4):
            rows = slice(start, start + ROWS * 4)
            confirmed[rows] = near(candidates[rows])
            bar.advance(len(candidates[rows]))
    pairs = candidates[confirmed]
    if classes is not None and not by_nature:
        signs = np.stack([_signs(look.bits) for look in looks])
        turned = turned_copies(signs, gray, classes, COPY_BITS, max(bound, beyond(len(TURNED) * count * (count - 1) / 2)))
        pairs = np.unique(np.concatenate([pairs, turned]), axis=0)
    return NearGroups(group=_stars(count, pairs, near), pairs=pairs, typical=typical, bound=bound, by_nature=by_nature)


def _compared(gray: Pictures) -> tuple[Thumbs | Residuals, float | None, Tail]:
    """What images are compared by; how alike random pairs are by that, and the likeness that so few unrelated pairs reach."""
    whole = Thumbs.of(gray)
    if len(gray) < FEWEST_IMAGES:
        return whole, None, Tail(None)
    pairs = some_pairs(len(gray))
    found = whole.likeness(*pairs)
    if np.median(found) < ALIKE_LIKENESS:
        return (
            whole,
            float(np.median(found)),
            Tail(found[found < COPY]),
        )  # copies among random pairs, as of ten scenes in bursts, say nothing of chance
    rest = Residuals.of(gray)
    left = rest.likeness(*pairs)
    return rest, float(np.median(left)), Tail(left)


def _together(looks: Sequence[Fingerprint], pairs: Indices) -> NDArray[np.bool_]:
    """Whether the two of each pair, [k, 2], were taken within BURST_S: bool [k]."""
    times = [(looks[one].taken, looks[other].taken) for one, other in pairs.tolist()]
    return np.array([a is not None and b is not None and abs(a - b) <= BURST_S for a, b in times], dtype=bool)


def _taken_together(looks: Sequence[Fingerprint]) -> Indices:
    """int64 [k, 2]: each photo and the next, by the camera's clock, where that is within BURST_S."""
    order = sorted((index for index, look in enumerate(looks) if look.taken is not None), key=lambda index: looks[index].taken or 0)
    pairs = np.array([sorted(pair) for pair in pairwise(order)], dtype=np.int64).reshape(-1, 2)
    return pairs[_together(looks, pairs)]


def _stars(count: int, edges: Indices, near: Near) -> Indices:
    """int64 [count]: the groups that confirmed pairs make.

    A chain of up to WHOLE images is one group. Of a longer one, the first image leads all that are near to *it*; then the next.
    """
    group = np.arange(count)
    if not len(edges):
        return group
    from scipy.sparse import csr_array  # 11 MB that only images with copies need; every command imports this module
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(csr_array((np.ones(len(edges), dtype=bool), edges.T), shape=(count, count)), directed=False)
    sizes = np.bincount(component)
    known = {(int(one), int(other)) for one, other in edges}
    left = FURTHER * count
    for number in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(component == number)
        if len(members) <= WHOLE:
            group[members] = members[0]
            continue
        while len(members) > 1:
            leader, others = members[0], members[1:]
            alike = np.array([(int(leader), int(other)) in known for other in others])
            ask = np.flatnonzero(~alike)[: max(0, left)]
            left -= len(ask)
            alike[ask] = near(np.stack([np.full(len(ask), leader), others[ask]], axis=1).astype(np.int64))
            group[others[alike]] = leader
            members = others[~alike]
    return group


def _by_hash(looks: Sequence[Fingerprint]) -> NearGroups:
    """By hashes alone: up to COPY_BITS, and fewer where random pairs of the set hardly differ more."""
    signs, count = np.stack([_signs(look.bits) for look in looks]), len(looks)
    copy, burst = float(COPY_BITS), float(BURST_BITS)

    def differing(one: Indices, other: Indices) -> Numbers:
        return np.asarray((HASH_SIDE**2 - (signs[one] * signs[other]).sum(axis=1)) / 2)

    if count >= FEWEST_IMAGES:
        middle, upper = np.quantile(differing(*some_pairs(count)), [0.5, 0.84])
        copy, burst = min(copy, middle - 6 * (upper - middle)), min(burst, middle - 3 * (upper - middle))

    def near(pairs: Indices) -> NDArray[np.bool_]:
        return np.asarray(differing(pairs[:, 0], pairs[:, 1]) <= np.where(_together(looks, pairs), max(burst, copy), copy))

    edges = [pairs[near(pairs)] for pairs in _close(signs, max(copy, burst))]
    pairs = np.concatenate(edges)
    return NearGroups(group=_stars(count, pairs, near), pairs=pairs)


def _close(signs: NDArray[np.float32], bits: float) -> Iterator[Indices]:
    """Pairs that differ in at most so many bits, the smaller index first."""
    with track("compare images", total=len(signs), unit="image") as bar:
        for start in range(0, len(signs), ROWS):
            # signs are +1 and -1: their product is the number of equal bits minus the number of different ones
            equal = signs[start : start + ROWS] @ signs[start:].T
            one, other = np.nonzero(equal >= HASH_SIDE**2 - 2 * bits)
            ahead = one < other
            yield np.stack([start + one[ahead], start + other[ahead]], axis=1).astype(np.int64)
            bar.advance(len(equal))


def _signs(bits: str) -> NDArray[np.float32]:
    """64 hexadecimal digits -> float32 [256] of +1 and -1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)).astype(np.float32) * 2 - 1
