"""Images or arrays for one stage alone: calibration inputs, and labelled images that decide or judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from edgetl.core.errors import InputError, nearest
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.data.collected import fingerprints_of, images_of
from edgetl.data.files import Collection, FileSource, Labelled, block, class_name, find_images, refuse, tell_left_out
from edgetl.data.images import Images, Intake, Part
from edgetl.data.npz import NpzTensors, open_npz
from edgetl.data.parts import part_folders
from edgetl.data.sources import NPZ, ROOT, existing, open_images, read_collection, read_hashes, same_names, wrapping_hint
from edgetl.data.splits import Hashed, assign, groups_in, refs_of, without_copies
from edgetl.data.survey import deepest
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.settings import DataSettings, QuantizeSettings

UNLABELLED = "unlabelled"
NO_SPLIT: Mapping[str, Part] = MappingProxyType({})


def open_calibration(
    path: Path,
    preprocess: Preprocess | None,
    *,
    index: Path | None = None,
    rehash: bool = False,
    skip_bad_images: bool = False,
    split: Mapping[str, Part] = NO_SPLIT,
) -> ImageTensors | NpzTensors:
    """Calibration inputs: an .npz (already preprocessed), or a folder of images, flat or nested, in the order of their content.

    Of a folder with `train/` and `val/` or `test/`, only `train/` is taken; of images that a run has split (`split`: sha256 ->
    part), those that are not in val or test, unless there are no others.

    Raises:
        InputError: nothing there, no images, images that do not decode (all named), or images without a Preprocess.
    """
    if not path.exists():
        beside = [other.name for other in sorted(path.parent.iterdir())] if path.parent.is_dir() else []
        raise InputError(
            f"expected calibration inputs at {path}, found nothing{nearest(path.name, beside)}. Give a folder of images or an .npz file"
        )
    if path.suffix.lower() == NPZ and path.is_file():
        return open_npz(path)
    if not path.is_dir():
        raise InputError(f"expected a folder of images or an .npz file for calibration, found the file {path}")
    prepared = needs_preprocess(preprocess, str(path))
    images = unlabelled_images(path, index=index, rehash=rehash, skip_bad_images=skip_bad_images, calibrating=True)
    fitting = tuple(ref for ref in images.refs if split.get(ref.sha256, "train") == "train")
    if fitting and len(fitting) < len(images):
        say(f"{path}: left out {len(images) - len(fitting)} images that are in the val or test part of the run")
        images = replace(images, refs=fitting)
    return ImageTensors(images=images, preprocess=prepared, labelled=False)


def unlabelled_images(
    folder: Path, *, index: Path | None = None, rehash: bool = False, skip_bad_images: bool = False, calibrating: bool = False
) -> Images:
    """Every image in `folder` and below, as one class in the train part, copies once.

    `calibrating`: of a folder with `train/` and `val/` or `test/`, only `train/`; and it is known which images look alike.

    Raises:
        InputError: no images, or images that do not decode (all named).
    """
    parts = part_folders(folder) if calibrating else {}
    start = parts.get("train", folder) if len(parts) > 1 else folder
    if start != folder:
        say(f"{folder}: only {start.relative_to(folder).as_posix()}/ is used for calibration")
    found = find_images(start)
    name = class_name(folder.resolve().name)
    tell_left_out(name, folder, [found])
    items = tuple(Labelled(where=path.relative_to(folder).as_posix(), label=UNLABELLED) for path in found.images)
    collection = Collection(name=name, root=folder, items=items, groups=frozenset({(None, UNLABELLED)}))
    hashed, problems = read_hashes(collection, index=index, rehash=rehash, skip_bad=skip_bad_images)
    unreadable = block("folders that cannot be read. Mend their permissions", found.unreadable)
    refuse(str(folder), [*unreadable, *problems, *([] if items else ["no images. Give a folder that holds some"])])
    unique, _ = without_copies(hashed, name)
    refs = refs_of([replace(image, part="train") for image in unique], (UNLABELLED,), groups_in(unique) if calibrating else {})
    intake = Intake(exact_copies=len(hashed) - len(unique), ignored_files=found.others, skipped_images=len(items) - len(hashed))
    depth = deepest(image.depth for image in hashed)
    return Images(
        name=name,
        classes=(UNLABELLED,),
        refs=refs,
        source=FileSource(root=folder),
        intake=intake,
        depth=depth,
        fingerprints=fingerprints_of(hashed),
    )


def open_evaluation(
    data: str,
    preprocess: Preprocess | None,
    *,
    classes: Sequence[str] | None = None,
    part: Literal["val", "test"] = "val",
    root: Path = ROOT,
    index: Path | None = None,
    rehash: bool = False,
    skip_bad_images: bool = False,
) -> ImageTensors | NpzTensors:
    """`open_labelled` as network inputs: what `quantize --eval` decides on.

    Raises:
        InputError: as `open_labelled`, or images without a Preprocess.
    """
    found = open_labelled(data, classes=classes, part=part, root=root, index=index, rehash=rehash, skip_bad_images=skip_bad_images)
    return found if isinstance(found, NpzTensors) else ImageTensors(images=found, preprocess=needs_preprocess(preprocess, data))


def open_labelled(
    data: str,
    *,
    classes: Sequence[str] | None = None,
    part: Literal["val", "test"] = "test",
    root: Path = ROOT,
    index: Path | None = None,
    rehash: bool = False,
    skip_bad_images: bool = False,
    split: Mapping[str, Part] = NO_SPLIT,
) -> Images | NpzTensors:
    """Labelled images, or an .npz with `y`, that one stage decides on (`part` "val") or is judged on ("test").

    Class folders and CSVs without parts are taken whole. Of data in parts, only `part` is taken, with the rule of
    `open_images`: `val/` without `test/` is the test part, and then a fold of train is val.

    Args:
        data: as for `open_images`, or an .npz.
        classes: the model's classes, in order: labels index into them, whatever classes `data` has. None: those of `data`.
        part: which part of data that comes in parts.
        root: where data sets by name lie.
        index: file that remembers the hashes of files.
        rehash: read every file although the index knows it.
        skip_bad_images: go on without files that cannot be decoded.
        split: sha256 -> part of the images of the run that the model comes from: of those, only `part` is taken. What the run does
            not hold is taken too.

    Raises:
        InputError: as `open_images`; an .npz without `y`; classes that the model does not know (all named).
    """
    path = existing(data)
    if path is None:
        images = open_images(data, DataSettings(), root=root)
        refs = tuple(replace(ref, part=split.get(ref.sha256, ref.part)) for ref in images.refs)
        return relabelled(replace(images, refs=tuple(sorted(refs, key=lambda ref: (ref.part, ref.sha256)))).only(part), classes, data)
    if path.suffix.lower() == NPZ and path.is_file():
        return _with_labels(open_npz(path))
    collection = read_collection(path)
    hashed, problems = read_hashes(collection, index=index, rehash=rehash, skip_bad=skip_bad_images)
    unique, conflicts = without_copies(hashed, collection.name)
    known = tuple(map(class_name, classes)) if classes is not None else collection.classes()
    groups = groups_in(unique)
    wanted, few = _of_part(collection, unique, part, split, groups)
    strange = _strange(collection.classes(), known, wrapping_hint(collection)) if classes else same_names(collection)
    nothing = (
        []
        if wanted or problems
        else [f"no images in its {part} part. Give a folder with images in {part}/, or one without parts, which is taken whole"]
    )
    refuse(data, [*collection.problems, *problems, *conflicts, *few, *strange, *nothing])
    refs = refs_of(
        [replace(image, part=part) for image in wanted],
        known,
        {image.sha256: groups[image.sha256] for image in wanted if image.sha256 in groups},
    )
    intake = Intake(
        exact_copies=len(hashed) - len(unique), ignored_files=collection.ignored, skipped_images=len(collection.items) - len(hashed)
    )
    return images_of(collection, hashed, refs, known, intake, named=collection.classes())


def _of_part(
    collection: Collection,
    images: Sequence[Hashed],
    part: Literal["val", "test"],
    split: Mapping[str, Part],
    groups: Mapping[str, str],
) -> tuple[Sequence[Hashed], list[str]]:
    """The images that count as `part`, by the run that `split` is of or by their folders, and the classes with too few of them."""
    if held := sum(image.sha256 in split for image in images):
        kept = [image for image in images if split.get(image.sha256, part) == part]
        say(
            f"{collection.name}: {held} of {len(images)} images belong to the run of the model; the {len(kept)} of its {part} part are used"
        )
        return kept, []
    if not collection.parts:
        return images, []
    refs, few = assign(images, collection.classes(), DataSettings(), groups)
    chosen = {ref.sha256 for ref in refs if ref.part == part}
    kept = [image for image in images if image.sha256 in chosen]
    say(f"{collection.name}: {len(kept)} images, its {part} part")
    return kept, few


def limited_calibration(source: TensorSource, settings: QuantizeSettings) -> TensorSource:
    """At most `calibration_images` of the calibration inputs, where they are images; an .npz is used whole."""
    if isinstance(source, ImageTensors) and len(source) > settings.calibration_images:
        return replace(source, images=source.images.take(settings.calibration_images, settings.seed))
    return source


def needs_preprocess(preprocess: Preprocess | None, data: str) -> Preprocess:
    """`preprocess`, which images cannot do without.

    Raises:
        InputError: it is None.
    """
    if preprocess is None:
        raise InputError(
            f"expected preprocessing for the images in {data}, found none in the model file. "
            "Give it with --preprocess FILE (JSON: size, resize, filter, color, mean, std; one-channel models: "
            '"color": "gray") or --preprocess imagenet, or give an .npz that is already preprocessed'
        )
    return preprocess


def _with_labels(tensors: NpzTensors) -> NpzTensors:
    if tensors.labels is None:
        raise InputError(f"expected labels in {tensors.path}, found only {tensors.array!r}. Add an array `y` (int, one label per row)")
    return tensors


def _strange(found: Sequence[str], known: Sequence[str], hint: str = "") -> list[str]:
    names = [f"{name}{nearest(name, known)}{hint}" for name in found if name not in known]
    return block(f"classes that the model does not know (it knows {', '.join(known[:20])}{', ...' if len(known) > 20 else ''})", names)


def relabelled(images: Images, classes: Sequence[str] | None, data: str) -> Images:
    """The same images with labels that index into `classes`.

    Raises:
        InputError: classes of the images that are not among them (all named).
    """
    if classes is None or tuple(classes) == images.classes:
        return images
    refuse(data, _strange(images.classes, classes))
    refs = tuple(replace(ref, label=list(classes).index(images.classes[ref.label])) for ref in images.refs)
    return replace(images, classes=tuple(classes), refs=refs)
