"""Class folders: `<class>/*.jpg`, or `train/<class>/*.jpg` beside `val/` and/or `test/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import say
from edgetl.data.files import PART_NAMES, Collection, Found, Labelled, block, class_name, find_images, is_image, visible
from edgetl.data.images import PARTS, Part


def read_folder(root: Path) -> Collection:
    """The images that the class folders below `root` hold.

    Raises:
        InputError: no class folders; folders beside `train/` and `val/` or `test/`; two folders for one part.
    """
    name = root.resolve().name or str(root)
    found: dict[tuple[Part | None, Path], Found] = {}
    problems: list[str] = []
    loose: list[str] = []
    for part, folder in part_folders(root).items():
        classes = subfolders(folder)
        lying = [path.name for path in sorted(folder.iterdir()) if visible(path.name) and is_image(path.name)]
        if not classes:
            problems += _no_class_folders(root, folder, len(lying))
        elif lying:
            loose.append(f"{len(lying)} images lie in {folder.relative_to(root).as_posix()}/ outside of any class folder")
        found |= {(part, path): find_images(path) for path in classes}
    _tell(name, found, loose)
    problems += _unusable(root, found)
    items = [
        Labelled(where=path.relative_to(root).as_posix(), label=class_name(folder.name), part=part)
        for (part, folder), here in found.items()
        for path in here.images
    ]
    groups = frozenset((part, class_name(folder.name)) for part, folder in found)
    ignored = sum(here.others for here in found.values())
    return Collection(name=name, root=root, items=tuple(items), groups=groups, problems=tuple(problems), ignored=ignored)


def part_folders(root: Path) -> Mapping[Part | None, Path]:
    """The folder of each part, in the order train, val, test; `{None: root}` for class folders that are still to be split.

    Raises:
        InputError: images in other folders beside train/ and val/ or test/, or two folders for one part.
    """
    named: dict[Part, list[Path]] = {}
    others: list[Path] = []
    for folder in subfolders(root):
        part = PART_NAMES.get(folder.name.lower())
        if part is None:
            others.append(folder)
        else:
            named.setdefault(part, []).append(folder)
    brought = "train" in named and len(named) > 1
    if not named or (others and not brought):
        return {None: root}
    strangers = [f"{folder.name}/" for folder in others if find_images(folder).images]
    if strangers:
        raise InputError(
            f"expected only train/, val/ and test/ in {root}, found other folders with images beside them:\n{listing(strangers)}\n"
            "Move them elsewhere, or name each image's class and part in a CSV (path,label,part)"
        )
    doubles = [" and ".join(f"{folder.name}/" for folder in folders) for folders in named.values() if len(folders) > 1]
    if doubles:
        raise InputError(f"expected one folder for each part in {root}, found:\n{listing(doubles)}\nMerge or move one of them")
    return {part: named[part][0] for part in PARTS if part in named}


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, by name; links back to the folder itself or above do not count."""
    real = Path(os.path.realpath(folder))
    above = {real, *real.parents}
    return [path for path in sorted(folder.iterdir()) if visible(path.name) and path.is_dir() and Path(os.path.realpath(path)) not in above]


def _no_class_folders(root: Path, folder: Path, lying: int) -> list[str]:
    if folder == root and not lying:
        return []  # "no images" says it all
    shown = "it" if folder == root else f"{folder.name}/"
    return [
        f"no class folders in {shown} ({lying} images lie directly in it). Put the images of each class into a folder named after the class"
    ]


def _unusable(root: Path, found: Mapping[tuple[Part | None, Path], Found]) -> list[str]:
    """Empty class folders, and folders that cannot be read."""
    empty = [f"{folder.relative_to(root).as_posix()}/" for (_, folder), here in found.items() if not here.images and not here.unreadable]
    unreadable = [line for here in found.values() for line in here.unreadable]
    return [
        *block("class folders without images. Add images or delete the folders", empty),
        *block("folders that cannot be read. Mend their permissions", unreadable),
    ]


def _tell(name: str, found: Mapping[tuple[Part | None, Path], Found], loose: list[str]) -> None:
    others = sum(here.others for here in found.values())
    if others:
        say(f"{name}: {others} files ignored that are no images")
    for line in loose:
        say(f"{name}: ignored: {line}")
