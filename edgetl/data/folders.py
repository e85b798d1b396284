"""Class folders: `<class>/*.jpg`, or `train/<class>/*.jpg` beside `val/` and/or `test/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgetl.core.progress import say
from edgetl.data.files import Collection, FoundFiles, Labelled, block, class_name, find_images, left_out_of, subfolders, tell_left_out
from edgetl.data.images import Part
from edgetl.data.parts import images_directly_in, part_folders, refuse_hidden_parts, tell_names

Key = tuple[Part | None, Path]


def read_folder(root: Path) -> Collection:
    """The images that the class folders below `root` hold.

    Raises:
        InputError: no class folders; folders beside `train/` and `val/` or `test/`; two folders for one part; what looks like
            parts and is not named so.
    """
    name = class_name(root.resolve().name or str(root))
    parts = part_folders(root)
    every = {(part, path): find_images(path) for part, folder in parts.items() for path in subfolders(folder)}
    found = {key: here for key, here in every.items() if here.images or not here.own}  # `runs/` may hold nothing but runs
    refuse_hidden_parts(root, [folder for part, folder in found if part is None])
    tell_names(name, root, parts)
    tell_left_out(name, root, [*map(left_out_of, {root, *parts.values()}), *every.values()])
    problems = [*_misplaced(name, root, parts, found), *_unusable(root, found)]
    items = [
        Labelled(where=path.relative_to(root).as_posix(), label=class_name(folder.name), part=part)
        for (part, folder), here in found.items()
        for path in here.images
    ]
    groups = frozenset((part, class_name(folder.name)) for part, folder in found)
    _tell_nested(name, root, found)
    ignored = sum(here.others for here in found.values())
    if ignored:
        say(f"{name}: ignored {ignored} files that are not images")
    return Collection(name=name, root=root, items=tuple(items), groups=groups, problems=tuple(problems), ignored=ignored)


def _misplaced(name: str, root: Path, parts: Mapping[Part | None, Path], found: Mapping[Key, FoundFiles]) -> list[str]:
    """Parts without class folders; images beside class folders are only told."""
    problems: list[str] = []
    for part, folder in parts.items():
        lying = images_directly_in(folder)
        if not any(of == part for of, _ in found):
            problems += _no_class_folders(root, folder, lying)
        elif lying:
            say(f"{name}: ignored {lying} images in {folder.relative_to(root).as_posix()}/ that are in no class folder")
    return problems


def _tell_nested(name: str, root: Path, found: Mapping[Key, FoundFiles]) -> None:
    """Which folders inside of class folders count to the class."""
    nested = sorted({path.parent for (_, folder), here in found.items() for path in here.images if path.parent != folder})
    if nested:
        more = f" and {len(nested) - 1} more" if len(nested) > 1 else ""
        say(f"{name}: images in subfolders belong to the class folder above them: {nested[0].relative_to(root).as_posix()}/{more}")


def _no_class_folders(root: Path, folder: Path, lying: int) -> list[str]:
    if folder == root and not lying:
        return []  # "no images" says it all
    shown = "it" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    unlabelled = "" if folder == root else f", or move {shown} elsewhere if nobody knows their classes"
    return [
        f"no class folders in {shown} ({lying} images lie directly in it). "
        f"Put the images of each class into a folder named after the class{unlabelled}"
    ]


def _unusable(root: Path, found: Mapping[Key, FoundFiles]) -> list[str]:
    """Empty class folders, and folders that cannot be read."""
    empty = [f"{folder.relative_to(root).as_posix()}/" for (_, folder), here in found.items() if not here.images and not here.unreadable]
    unreadable = [line for here in found.values() for line in here.unreadable]
    return [
        *block("class folders without images. Add images or delete the folders", empty),
        *block("folders that cannot be read. Mend their permissions", unreadable),
        *block("class folders whose names differ only in how an accent is stored. Merge them", _twice(root, found)),
    ]


def _twice(root: Path, found: Mapping[Key, FoundFiles]) -> list[str]:
    """Folders side by side whose names are one text: `é` as one character, and as two."""
    together: dict[tuple[Part | None, str], list[str]] = {}
    for (part, folder), here in found.items():
        line = f"{folder.relative_to(root).as_posix()!a} ({len(here.images)} images)"
        together.setdefault((part, class_name(folder.name)), []).append(line)
    return [" and ".join(lines) for lines in together.values() if len(lines) > 1]
