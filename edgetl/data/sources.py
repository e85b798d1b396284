"""From DATA, as the user gives it, to images in parts."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from edgetl.core.errors import InputError, listing, nearest
from edgetl.core.progress import detail, say
from edgetl.data.collected import images_of
from edgetl.data.csvlist import read_csv
from edgetl.data.digits import digit_images
from edgetl.data.files import Collection, block, is_one_line, refuse, subfolders
from edgetl.data.folders import read_folder
from edgetl.data.hashes import check_files
from edgetl.data.images import ImageRef, Images, Intake, Part
from edgetl.data.named import cifar10_images
from edgetl.data.near import NearGroups
from edgetl.data.splits import Hashed, assign, led_in, near_counts, without_copies
from edgetl.settings import DataSettings

KNOWN_NAMES = ("cifar10", "digits")
NPZ = ".npz"
ROOT = Path("data")
GROUPS_SHOWN = 5
SKIPPED_SHOWN = 20


def open_images(
    data: str | None,
    settings: DataSettings,
    *,
    root: Path = ROOT,
    index: Path | None = None,
    rehash: bool = False,
    earlier: Mapping[str, Part] = MappingProxyType({}),
) -> Images:
    """The images that `data` names, in parts.

    Args:
        data: None (the embedded digits), a folder of class folders, a folder with `train/` and `val/` and/or `test/`
            of class folders, a CSV `path,label[,part]`, or `cifar10`, `digits`. What lies on disk goes before a name.
        settings: shares and seed of the split.
        root: where data sets by name lie, or are downloaded to.
        index: file that remembers the hashes of files; None reads every file.
        rehash: read every file although the index knows it.
        earlier: sha256 -> the part that an image had before, and keeps.

    Raises:
        InputError: one message for everything that is wrong: nothing there, no images, fewer than two classes, empty
            class folders, classes missing from a part, files that do not decode, one image in two classes or parts.
    """
    if data is None:
        return digit_images(settings)
    if (path := existing(data)) is None:
        return _by_name(data, settings, root)
    if data.lower() in KNOWN_NAMES:
        say(f"{data}: uses the folder of that name, not the data set")
    collection = read_collection(path)
    hashed, problems = read_hashes(collection, index=index, rehash=rehash, skip_bad=settings.skip_bad_images)
    classes = collection.classes("train" if collection.parts else None)
    unique, conflicts = without_copies(hashed, collection.name)
    groups, found = led_in(unique)
    refs, few = assign(unique, collection.classes(), settings, groups, earlier)
    refuse(data, [*collection.problems, *class_problems(collection), *problems, *conflicts, *few])
    _tell_parts(collection)
    alike, across = near_counts(refs, groups)
    _tell_alike(collection, refs, groups, alike, across, found)
    _tell_crowded(collection.name, collection.classes(), refs)
    intake = Intake(
        exact_copies=len(hashed) - len(unique),
        near_duplicates=alike,
        near_duplicates_across_parts=across,
        near_duplicates_left_out=len(unique) - len(refs),
        ignored_files=collection.ignored,
        skipped_images=len(collection.items) - len(hashed),
    )
    return images_of(collection, hashed, refs, classes, intake, named=classes)


def existing(data: str) -> Path | None:
    """The path that `data` is, if there is something."""
    path = Path(data).expanduser()
    return path if data.strip() and path.exists() else None


def _by_name(data: str, settings: DataSettings, root: Path) -> Images:
    match data.lower():
        case "digits":
            return digit_images(settings)
        case "cifar10":
            return cifar10_images(settings, root)
    raise no_such(data)


def no_such(data: str) -> InputError:
    """The error for `data` that is neither a path nor a name, with the nearest name of both."""
    parent = Path(data).expanduser().parent
    beside = [path.name for path in sorted(parent.iterdir()) if not path.name.startswith(".")] if parent.is_dir() else []
    hint = nearest(Path(data).name, [*KNOWN_NAMES, *beside])
    return InputError(
        f"expected images at {data!r}, found nothing there{hint}. "
        f"Give a folder of class folders, a CSV (path,label[,part]) or the name of a data set ({', '.join(KNOWN_NAMES)})"
    )


def read_collection(path: Path) -> Collection:
    """What the folder or CSV at `path` names.

    Raises:
        InputError: neither a folder nor a CSV, or nothing in it.
    """
    if path.is_dir():
        collection = read_folder(path)
    elif path.suffix.lower() == ".csv":
        collection = read_csv(path)
    else:
        also = " (an .npz holds no images; quantize and verify take one)" if path.suffix.lower() == NPZ else ""
        raise InputError(f"expected a folder of class folders or a CSV (path,label[,part]), found the file {path}{also}")
    if not collection.items:
        way_out = "a folder that holds a folder of images for each class" if path.is_dir() else "a row path,label[,part] for each image"
        refuse(str(path), [*collection.problems, f"no images. Give {way_out}"])
    return collection


def read_hashes(collection: Collection, *, index: Path | None, rehash: bool, skip_bad: bool = False) -> tuple[list[Hashed], list[str]]:
    """The images with their hashes, and the problem: files that cannot be decoded; or, without those, classes that lost all images."""
    checked = check_files(collection.root, [item.where for item in collection.items], index=index, rehash=rehash)
    broken = [f"{where}: {found.problem}" for where, found in sorted(checked.items()) if found.problem]
    hashed = [
        Hashed(where=item.where, label=item.label, part=item.part, sha256=found.sha256, look=found.look, depth=found.depth)
        for item in collection.items
        if (found := checked[item.where]).problem is None
    ]
    if not (skip_bad and broken):
        return hashed, block("image files that cannot be decoded. Replace or delete them, or leave them out with --skip-bad-images", broken)
    files = "1 image file" if len(broken) == 1 else f"{len(broken)} image files"
    say(f"{collection.name}: skipped {files} that cannot be decoded:\n{listing(broken, SKIPPED_SHOWN)}")
    held, left = ({(item.part, item.label) for item in items} for items in (collection.items, hashed))
    lost = sorted(f"{label} (in {part})" if part else label for part, label in held - left)
    return hashed, block("classes of which no image at all can be decoded. Replace their images", lost)


def class_problems(collection: Collection) -> list[str]:
    """Fewer than two classes; classes that train has and another part has not, or the other way round."""
    strange = [ascii(name) for name in collection.classes() if not is_one_line(name)]
    if strange:
        return block("class names with line breaks, control characters or bytes that are no UTF-8. Rename them", strange)
    if doubles := same_names(collection):
        return doubles
    if not collection.parts:
        return few_classes(collection)
    if "train" not in collection.parts:
        return [f"no train/ beside {' and '.join(f'{part}/' for part in sorted(collection.parts))}. Add it"]
    train = set(collection.classes("train"))
    others: list[Part] = [part for part in ("val", "test") if part in collection.parts]
    missing = [f"{label}: not in {part}" for part in others for label in sorted(train - set(collection.classes(part)))]
    unknown = [f"{label}: in {part}, not in train" for part in others for label in sorted(set(collection.classes(part)) - train)]
    return [
        *few_classes(collection),
        *block("classes missing from a part. Add images of them", missing),
        *block("classes that train does not have. Add them to train or take them out", unknown),
    ]


def same_names(collection: Collection) -> list[str]:
    """Class names that people take for one: they differ in case, in spaces, or in how a letter is written."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in collection.classes():
        alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    counts = Counter(item.label for item in collection.items)
    lines = [" and ".join(f"{label!r} ({counts[label]} images)" for label in labels) for labels in alike.values() if len(labels) > 1]
    return block("class names that differ in case or spaces only. Give them one name, or names that differ in more", lines)


def few_classes(collection: Collection) -> list[str]:
    """Fewer than two classes, with a hint where the only folder holds the class folders."""
    classes = collection.classes("train" if collection.parts else None)
    if len(classes) >= 2:
        return []
    return [f"fewer than two classes: {', '.join(classes) or 'none'}. A classifier needs at least two.{wrapping_hint(collection)}"]


def wrapping_hint(collection: Collection) -> str:
    """Where the class folders or parts may be meant to be, if the only folder holds them."""
    if collection.parts or not collection.root.is_dir() or len(collection.classes()) != 1:
        return ""
    inside = collection.root
    while len(folders := subfolders(inside)) == 1:
        inside = folders[0]
    names = ", ".join(folder.name for folder in folders[:5])
    return f" Did you mean {inside}, which holds the folders {names}?" if folders and inside != collection.root else ""


def _tell_parts(collection: Collection) -> None:
    match sorted(collection.parts):
        case ["train", "val"]:
            say(f"{collection.name}: val is used as the test part; a share of train is used as the val part")
        case ["test", "train"]:
            say(f"{collection.name}: a share of train is used as the val part")


def _tell_crowded(name: str, classes: Sequence[str], refs: Sequence[ImageRef]) -> None:
    """Report classes in which every image looks like another one: there are fewer scenes than images."""
    for label, title in enumerate(classes):
        groups = [ref.group for ref in refs if ref.label == label]
        if groups and all(groups):
            scenes = f"{len(groups)} images are {len(set(groups))} scenes"
            say(f"{name}: every image of {title} has near-duplicates: {scenes}, so its scores are no more certain than with so many images")


def _tell_alike(
    collection: Collection, refs: Sequence[ImageRef], groups: Mapping[str, str], alike: int, across: int, found: NearGroups
) -> None:
    """Report how many images look alike, how sure that is, and how many of them lie in different parts."""
    if alike:
        kept = "" if across else "; each group of them is kept in one part"
        say(f"{collection.name}: {alike} near-duplicates (resized copies, bursts){kept}")
    if found.by_nature or (alike and found.typical is not None):
        say(f"{collection.name}: {found.certainty(alike)}")
    if not across:
        return
    members: dict[str, list[ImageRef]] = defaultdict(list)
    for ref in refs:
        members[groups.get(ref.sha256, ref.sha256)].append(ref)
    split = [" ~ ".join(f"{ref.where} ({ref.part})" for ref in group) for group in members.values() if len({r.part for r in group}) > 1]
    say(f"{collection.name}: {across} near-duplicates are in different parts, so scores may be too high:\n{listing(split, GROUPS_SHOWN)}")
    if len(split) > GROUPS_SHOWN:
        detail(f"{collection.name}: all of them:\n{listing(split, len(split))}")
