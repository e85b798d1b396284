"""Which image goes to which part: by content and seed, so that names, order and later additions do not matter.

What looks alike stays together: the unit that goes to a part is a group of near-duplicates, mostly of one image.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from edgetl.core.canonical import digest_of
from edgetl.core.imagefile import Depth
from edgetl.core.progress import say
from edgetl.data.files import Labelled, block
from edgetl.data.fingerprint import Fingerprint
from edgetl.data.images import ImageRef, Part
from edgetl.data.near import NearGroups, led
from edgetl.settings import DataSettings


@dataclass(frozen=True, kw_only=True)
class Hashed(Labelled):
    """A labelled image whose content is known; `look` is None where near-duplicates are of no interest, `depth` below 16 bits."""

    sha256: str
    look: Fingerprint | None = None
    depth: Depth | None = None


def groups_in(images: Iterable[Hashed]) -> Mapping[str, str]:
    """sha256 -> the sha256 that leads its group of near-duplicates, of whatever class and part."""
    return led_in(images)[0]


def led_in(images: Iterable[Hashed]) -> tuple[Mapping[str, str], NearGroups]:
    """As `groups_in`, and how sure the groups are."""
    looked = {image.sha256: (image.look, image.label) for image in images if image.look is not None}
    return led({sha: look for sha, (look, _) in looked.items()}, {sha: label for sha, (_, label) in looked.items()})


def without_copies(images: Iterable[Hashed], name: str) -> tuple[list[Hashed], list[str]]:
    """One image of each content, sorted by sha256; and the problems: one content in two classes, or in two parts.

    Copies in the same class and part are harmless: the first by name stays, the rest is told.
    """
    groups: dict[str, list[Hashed]] = defaultdict(list)
    for image in sorted(images, key=lambda image: (image.sha256, image.where)):
        groups[image.sha256].append(image)
    classes, parts, copies = [], [], 0
    for group in groups.values():
        line = " = ".join(dict.fromkeys(f"{image.where} ({image.label})" for image in group))
        if len({image.label for image in group}) > 1:
            classes.append(line)
        elif len({image.part for image in group}) > 1:
            parts.append(" = ".join(dict.fromkeys(f"{image.where} ({image.part})" for image in group)))
        else:
            copies += len(group) - 1
    if copies:
        say(f"{name}: left out {copies} exact copies within a class")
    problems = [
        *block("the same image in two classes. Delete it from the wrong one", classes),
        *block("the same image in two parts. Delete it from one of them, or scores would be too good", parts),
    ]
    return [group[0] for group in groups.values()], problems


def assign(
    images: Sequence[Hashed],
    classes: Sequence[str],
    settings: DataSettings,
    groups: Mapping[str, str] = MappingProxyType({}),
    earlier: Mapping[str, Part] = MappingProxyType({}),
) -> tuple[tuple[ImageRef, ...], list[str]]:
    """The part of each image, and the problems: classes with too few images.

    Brought parts stay, with two rules: `val` without `test` is the test part (it judges), and where `val` does not
    exist, or has become the test part, a fold of train is val. `groups` (of `groups_in`) stay together. An image with an `earlier` part
    keeps it, and what looks like it follows; what looks like images of two parts is left out, and said so.
    """
    brought = {image.part for image in images}
    if "val" in brought and "test" in brought:
        return refs_of(images, classes, groups), []
    images = [replace(image, part="test") if image.part == "val" else image for image in images]
    judged = [image for image in images if image.part == "test"]
    test_share = 0.0 if judged else settings.test_share
    fresh = [image for image in images if image.part != "test"]
    settled = {image.sha256: part for image in fresh if (part := earlier.get(image.sha256)) and not (judged and part == "test")}
    fresh, groups_kept = _without_ties(fresh, groups, settled)
    units = _units(fresh, groups_kept)
    fixed = {groups_kept.get(sha, sha): part for sha, part in settled.items()}
    large = frozenset(unit for members in units.values() for unit in _large(members) if unit not in fixed)
    homes = Counter(unit for members in units.values() for unit in set(members.values()))
    shared = frozenset(unit for unit, classes_of in homes.items() if classes_of > 1)
    placed: dict[str, Part] = {}
    few: list[str] = []
    for label, members in units.items():
        positions = {unit: 0.5 if unit in large else position(settings.seed, unit) for unit in set(members.values())}
        parts = split_class(positions, settings.val_share, test_share, shared | large, fixed)
        if parts is None and len(positions) < len(members):
            say(f"{label}: nearly all of its {len(members)} images look alike, so they are split one by one; scores may be too high")
            members = {sha: sha for sha in members}
            parts = split_class({sha: position(settings.seed, sha) for sha in members}, settings.val_share, test_share, fixed=settled)
        if parts is None:
            few.append(f"{label}: {len(members)}")
        else:
            placed |= {sha: parts[unit] for sha, unit in members.items()}
    known = [replace(image, part=placed[image.sha256]) for image in fresh if image.sha256 in placed]
    return refs_of([*judged, *known], classes, groups), block(_too_few(settings.val_share, test_share), few)


def _without_ties(
    images: Sequence[Hashed], groups: Mapping[str, str], settled: Mapping[str, Part]
) -> tuple[list[Hashed], Mapping[str, str]]:
    """The images without new ones that look like settled ones of two parts; and the groups, those that lie in two parts taken apart."""
    homes: dict[str, set[Part]] = defaultdict(set)
    for sha, part in settled.items():
        homes[groups.get(sha, sha)].add(part)
    torn = {group for group, parts in homes.items() if len(parts) > 1}
    left = {image.sha256 for image in images if image.sha256 not in settled and groups.get(image.sha256) in torn}
    if left:
        say(
            f"left out {len(left)} new {'image' if len(left) == 1 else 'images'} that look like earlier ones in two different parts. "
            "With another --out all images are split anew"
        )
    whole = {sha: sha if group in torn else group for sha, group in groups.items()} if torn else groups
    return [image for image in images if image.sha256 not in left], whole


def _units(images: Iterable[Hashed], groups: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Class -> image -> its unit, which is the image that leads its group."""
    units: dict[str, dict[str, str]] = {}
    for image in sorted(images, key=lambda image: image.label):
        units.setdefault(image.label, {})[image.sha256] = groups.get(image.sha256, image.sha256)
    return units


def _large(members: Mapping[str, str]) -> list[str]:
    """The groups that hold more than half of a class: they are what there is to train on."""
    return [unit for unit, count in Counter(members.values()).items() if count > 1 and count > len(members) / 2]


def near_counts(refs: Iterable[ImageRef], groups: Mapping[str, str]) -> tuple[int, int]:
    """How many images look like another one, and how many like one in another part."""
    parts: dict[str, list[Part]] = defaultdict(list)
    for ref in refs:
        parts[groups.get(ref.sha256, ref.sha256)].append(ref.part)
    crowds = [group for group in parts.values() if len(group) > 1]
    return sum(map(len, crowds)), sum(len(group) for group in crowds if len(set(group)) > 1)


def position(seed: int, sha256: str) -> float:
    """Where an image stands in [0, 1): a function of its content and the seed alone."""
    return int(digest_of(["split", seed, sha256])[:13], 16) / 16**13


def split_class(
    positions: Mapping[str, float],
    val_share: float,
    test_share: float,
    keep: frozenset[str] = frozenset(),
    fixed: Mapping[str, Part] = MappingProxyType({}),
) -> dict[str, Part] | None:
    """Test below `test_share`, val from `1 - val_share` on, train between; None where a class is too small for that.

    A part that stays empty borrows the image of train that stands next to it, and gives it back once the class has
    grown: so without `fixed`, adding images never moves one out of train, and moves none at all where no part borrows. What is in
    `keep` is not lent; what is in `fixed` is in that part.
    """
    parts: dict[str, Part] = {
        sha: fixed.get(sha) or ("test" if at < test_share else "val" if at >= 1 - val_share else "train") for sha, at in positions.items()
    }
    empty = [part for part in (("test", "val") if test_share else ("val",)) if part not in parts.values()]
    lenders = sorted(
        (sha for sha, part in parts.items() if part == "train" and sha not in keep and sha not in fixed),
        key=lambda sha: (positions[sha], sha),
    )
    kept = any(part == "train" for sha, part in parts.items() if sha in keep or sha in fixed)
    if len(lenders) < len(empty) + (not kept):
        return None
    if "test" in empty:
        parts[lenders[0]] = "test"
    if "val" in empty:
        parts[lenders[-1]] = "val"
    return parts


def enough(val_share: float, test_share: float) -> int:
    """The number of images of a class at which the odds of an empty train part are one in a thousand."""
    return max(3 if test_share else 2, math.ceil(math.log(1e-3) / math.log(val_share + test_share)))


def refs_of(images: Iterable[Hashed], classes: Sequence[str], groups: Mapping[str, str] = MappingProxyType({})) -> tuple[ImageRef, ...]:
    """The images whose part is known, as references sorted by (part, sha256)."""
    crowded = {group for group, count in Counter(groups.values()).items() if count > 1}
    labels = {label: index for index, label in enumerate(classes)}
    refs = [
        ImageRef(
            sha256=image.sha256,
            label=labels[image.label],
            part=image.part,
            where=image.where,
            group=group if (group := groups.get(image.sha256, "")) in crowded else "",
        )
        for image in images
        if image.part is not None
    ]
    return tuple(sorted(refs, key=lambda ref: (ref.part, ref.sha256)))


def _too_few(val_share: float, test_share: float) -> str:
    shares = f"val_share {val_share}" + (f", test_share {test_share}" if test_share else "")
    parts = "train, val and test" if test_share else "train and val"
    return (
        f"classes with too few images to have one each in {parts} (at {shares}, {enough(val_share, test_share)} are nearly always enough). "
        "Add images, or bring your own train/, val/ and test/ folders. Images found"
    )
