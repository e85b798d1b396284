"""Recognition of the folders that are parts of a data set (train, val, test, under many names), not classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.core.foreign import visible
from edgetl.core.progress import say
from edgetl.data.files import find_images, is_image, subfolders
from edgetl.data.images import PARTS, Part
from edgetl.data.partnames import alike, part_name, part_of, says_nothing

NAMES_SHOWN = 5
PartFolders = dict[Part, list[Path]]


def part_folders(root: Path) -> Mapping[Part | None, Path]:
    """The folder of each part, in the order train, val, test; `{None: root}` for class folders that are still to be split.

    Raises:
        InputError: images in other folders beside train/ and val/ or test/, two folders for one part, or a part for each class.
    """
    folders = subfolders(root)
    groups = _groups(folders)
    brought = [named for named in groups.values() if "train" in named and len(named) > 1]
    if len(brought) > 1:
        pairs = [" and ".join(f"{folder.name}/" for same in named.values() for folder in same) for named in brought]
        raise InputError(
            f"expected one folder for each part in {root}, found several of each:\n{listing(pairs)}\n"
            "Put the images into train/CLASS/, val/CLASS/ and test/CLASS/, or name each image's class and part in a CSV (path,label,part)"
        )
    named = brought[0] if brought else next(iter(groups.values()), {}) if len(groups) == 1 else {}
    others = [folder for folder in folders if folder not in [path for same in named.values() for path in same]]
    strangers = [f"{folder.name}/" for folder in others if find_images(folder).images] if named else []
    if not named or (strangers and not brought):
        return {None: root}
    if strangers:
        raise InputError(
            f"expected only train/, val/ and test/ in {root}, found other folders with images beside them:\n{listing(strangers)}\n"
            "Move them elsewhere, or name each image's class and part in a CSV (path,label,part)"
        )
    doubles = [" and ".join(f"{folder.name}/" for folder in same) for same in named.values() if len(same) > 1]
    if doubles:
        raise InputError(f"expected one folder for each part in {root}, found:\n{listing(doubles)}\nMerge or move one of them")
    return {part: unwrapped(named[part][0]) for part in PARTS if part in named}


def tell_names(name: str, root: Path, parts: Mapping[Part | None, Path]) -> None:
    """Say which folder was taken for which part, where its name is not the part's own."""
    taken = [
        f"{folder.relative_to(root).as_posix()}/ is the {part} part"
        for part, folder in parts.items()
        if part and part != folder.name.lower()
    ]
    if taken:
        say(f"{name}: {', '.join(taken)}")


def unwrapped(folder: Path) -> Path:
    """Where the class folders of a part begin: `seg_train/seg_train` and `train/images` only wrap them."""
    inside = subfolders(folder)
    if len(inside) != 1 or images_directly_in(folder):
        return folder
    only = inside[0]
    wraps = says_nothing(only.name) or part_name(only.name) == part_name(folder.name)
    return unwrapped(only) if wraps and len(subfolders(only)) > 0 else folder


def images_directly_in(folder: Path) -> int:
    """How many image files lie in `folder` itself."""
    return sum(visible(path.name) and is_image(path.name) for path in folder.iterdir())


def refuse_hidden_parts(root: Path, classes: Sequence[Path]) -> None:
    """Pass unless what is about to be taken for classes are parts, or holds them.

    Raises:
        InputError: most folders hold folders of the same names, or folders that are named as parts.
    """
    inside = {folder: [path.name for path in subfolders(folder)] for folder in classes if not images_directly_in(folder)}
    holders = [folder for folder, names in inside.items() if _hold_parts(names)]
    if holders and len(classes) > 1:
        raise InputError(
            f"expected class folders in {root}, found train, val or test folders inside of folders:\n{_shown(holders, inside)}\n"
            f"Did you mean {holders[0]}? If these are classes, swap the levels (train/CLASS/), "
            "or name each image's class and part in a CSV (path,label,part)"
        )
    twins = [folder for folder, names in inside.items() if any(folder != other and alike(names, inside[other]) for other in inside)]
    if 2 * len(twins) > len(classes):
        raise InputError(
            f"expected class folders in {root}, found folders that all contain the same subfolders:\n{_shown(twins, inside)}\n"
            "If they are parts of a split, name them train/, val/ and test/. If they are classes, put the images directly into them, "
            "or name each image's class in a CSV (path,label)"
        )


def _groups(folders: Sequence[Path]) -> dict[tuple[str, ...], PartFolders]:
    """The folders that are named as parts, by what their names say beside that: `seg_train` and `seg_test` belong together."""
    groups: dict[tuple[str, ...], PartFolders] = {}
    for folder in folders:
        if found := part_name(folder.name):
            groups.setdefault(found.rest, {}).setdefault(found.part, []).append(folder)
    return groups


def _hold_parts(names: Sequence[str]) -> bool:
    parts = {part_of(name) for name in names}
    return "train" in parts and len(parts - {None}) > 1


def _shown(folders: Sequence[Path], inside: Mapping[Path, Sequence[str]]) -> str:
    lines = [
        f"{folder.name}/: {', '.join(inside[folder][:NAMES_SHOWN])}{', ...' if len(inside[folder]) > NAMES_SHOWN else ''}"
        for folder in folders
    ]
    return listing(lines)
