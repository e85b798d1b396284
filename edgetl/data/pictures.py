"""Any images, for golden vectors: a folder of whatever arrangement, a CSV, a single file, or a data set by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgetl.data.collected import images_of
from edgetl.data.files import Collection, Labelled, block, class_name, find_images, is_image, refuse, tell_left_out
from edgetl.data.images import Images, Intake
from edgetl.data.sources import existing, open_images, read_collection, read_hashes
from edgetl.data.splits import refs_of
from edgetl.settings import DataSettings


def open_pictures(data: str) -> Images:
    """The images that `data` names, copies once, all in the val part; those of one folder, or of one class of a CSV, are a class.

    Raises:
        InputError: nothing there, no images, or images that do not decode (all named).
    """
    path = existing(data)
    if path is None:
        return open_images(data, DataSettings()).only("val")
    collection = _in_folders(path) if path.is_dir() or is_image(path.name) else read_collection(path)
    hashed, problems = read_hashes(collection, index=None, rehash=False)
    refuse(data, [*collection.problems, *problems, *([] if collection.items else ["no images. Give a folder that holds some"])])
    one_each = {image.sha256: replace(image, part="val") for image in sorted(hashed, key=lambda image: image.where, reverse=True)}
    classes = collection.classes()
    refs = refs_of(one_each.values(), classes)
    intake = Intake(exact_copies=len(hashed) - len(refs), ignored_files=collection.ignored)
    return images_of(collection, hashed, refs, classes, intake, named=classes)


def _in_folders(path: Path) -> Collection:
    """An image file, or the images in a folder and below."""
    if path.is_file():
        return _collected(path.name, path.parent, [path])
    found = find_images(path)
    name = class_name(path.resolve().name)
    tell_left_out(name, path, [found])
    collection = _collected(name, path, found.images)
    unreadable = block("folders that cannot be read. Mend their permissions", found.unreadable)
    return replace(collection, problems=tuple(unreadable), ignored=found.others)


def _collected(name: str, root: Path, files: Sequence[Path]) -> Collection:
    places = [path.relative_to(root) for path in files]
    items = tuple(Labelled(where=place.as_posix(), label=place.parent.as_posix()) for place in places)
    return Collection(name=name, root=root, items=items, groups=frozenset((None, item.label) for item in items))
