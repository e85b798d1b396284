"""Images that decide are none of those that a model was fitted on: neither the same nor, as far as it shows, saved again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.data.unseen import as_inputs, by_bytes, by_look, not_comparable, places, turned_by_look

NAMED = 8  # images, of those that are refused


def refuse_calibrating(judging: TensorSource, fitted: TensorSource, *, one_split: bool = False) -> None:
    """Pass if no image that decides set the ranges that it judges.

    Files are compared with files and rows of an .npz with rows, byte by byte and by look; files and rows by what the network sees.

    Args:
        judging: the images that decide.
        fitted: the calibration images.
        one_split: whether both are parts of one split, which has kept together what looks alike, or has said where it could not: then
            only the same image is refused.

    Raises:
        InputError: images that are calibration images, or look like one.
    """
    alike: dict[str, str] = {}
    if not one_split:
        images, record = _bare(judging), _as_seen(fitted, judging)
        alike, limits = by_look(images, record, _preprocess(judging))
        _tell(limits, "are calibration images")
        _tell_turned(len(turned_by_look(images, record) - alike.keys()), len(judging), "calibration")
    same = {sha: "calibration" for sha in {*fitted.hashes} & {*judging.hashes}}
    if rows := _rows(judging, {**alike, **same}):
        raise InputError(
            f"expected evaluation images that are not in the calibration set, found {len(rows)} of {len(judging)} that are, or look like "
            f"a calibration image:\n{listing(rows, NAMED)}\nRemove them from one of the two"
        )


def refuse_trained(judging: TensorSource, seen: SeenImages | None) -> None:
    """Pass if the model was trained on no image that decides, as far as `seen`, its record, shows.

    Raises:
        InputError: images that are on record as trained on, or look like one that is.
    """
    if seen is None or not seen.knows_training:
        _tell(["what it was trained on is not on record"], "trained the model")
        return
    parts = frozenset(part for part in seen.kept if part.split()[0] == "train")
    training = replace(
        seen,
        parts={part: found for part, found in seen.parts.items() if part in parts},
        filters=tuple(found for found in seen.filters if found.part in parts),
        looks={part: found for part, found in seen.looks.items() if part in parts},
        bytes_only=seen.bytes_only & parts,
        rows=seen.rows & parts,
    )
    images, preprocess = _bare(judging), _preprocess(judging)
    alike, blind = by_look(images, training, preprocess)
    same, doubtful = by_bytes(images, training)
    if rows := _rows(judging, {**alike, **same}):
        raise InputError(
            f"expected evaluation images that the model was not trained on, found {len(rows)} training images among {len(judging)}:\n"
            f"{listing(rows, NAMED)}\nRemove them, or give other images with --eval"
        )
    _tell_turned(len(turned_by_look(images, training)), len(judging), "training")
    _tell([*not_comparable(images, training, preprocess), *doubtful, *blind], "trained the model")


def _as_seen(fitted: TensorSource, judging: TensorSource) -> SeenImages:
    """The calibration images as a record that `judging` can be compared with: of files and rows, what the network sees of either."""
    files = isinstance(fitted, ImageTensors)
    if files and not isinstance(judging, ImageTensors):
        return SeenImages.of("", looks=as_inputs(fitted), rows=True, calibration=fitted.hashes)
    return SeenImages.of("", looks=fitted.looks, rows=not files, calibration=fitted.hashes)


def _bare(source: TensorSource) -> Images | NpzTensors | NpzRows:
    """The images themselves, without what the network is to see of them."""
    if isinstance(source, ImageTensors):
        return source.images
    assert isinstance(source, NpzTensors | NpzRows)
    return source


def _preprocess(source: TensorSource) -> Preprocess | None:
    return source.preprocess if isinstance(source, ImageTensors) else None


def _rows(judging: TensorSource, found: Mapping[str, str]) -> list[str]:
    """Where the images that were found lie, and as what."""
    return [f"{place} ({found[sha]})" for place, sha in places(_bare(judging)) if sha in found]


def _tell(limits: Sequence[str], what: str) -> None:
    if limits:
        say(f"quantize: not checked in full whether evaluation images {what}: {'; '.join(limits)}")


def _tell_turned(count: int, judging: int, what: str) -> None:
    if count:
        words = f"{count} of {judging} evaluation images look like a mirrored or turned {what} image"
        say(f"quantize: {words}: if those are of the same class, the decision may be too good")
