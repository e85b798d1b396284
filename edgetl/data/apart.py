"""Images that decide are none of those that a model was fitted on: neither the same nor, as far as it shows, one that looks like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.data.fingerprint import Fingerprint
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.rows import fingerprints_of_rows
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.data.ties import Ties, fingerprints, ties
from edgetl.data.unseen import INPUTS_AT_ONCE, as_inputs, by_bytes, by_look, not_comparable, places, turned_by_look

NAMED = 8  # images, of those that are refused
MOST = 10_000  # images of both sets, up to which they are compared as a split compares its own
OTHERS = "Remove them, or give other images with --eval"
BY_NATURE = "these pictures are alike by nature: copies that were cropped or moved may not show, and mirrored or turned ones do not"


def refuse_calibrating(judging: TensorSource, fitted: TensorSource, *, one_split: bool = False) -> None:
    """Pass if no image that decides set the ranges that it judges.

    Files are compared with files and rows of an .npz with rows, byte by byte and by look; files and rows by what the network sees.
    What looks alike is what a split would keep in one part, crops and next frames too. Of more than `MOST` images hashes decide.

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
        if found := _tied(judging, fitted):
            alike |= dict.fromkeys((judging.hashes[at] for at in found.tied), "looks like one in calibration")
            limits = [BY_NATURE] if found.groups.by_nature else []
        _tell(limits, "quantize", "are calibration images")
        _tell_turned(len(turned_by_look(images, record) - alike.keys()), len(judging), "quantize", "calibration")
    same = {sha: "calibration" for sha in {*fitted.hashes} & {*judging.hashes}}
    _refuse_calibration(judging, {**alike, **same}, "Remove them from one of the two")


def refuse_calibrated(judging: TensorSource, seen: SeenImages, step: str) -> None:
    """Pass if no image that decides calibrated the model, as far as `seen`, its record, shows; `step` says what does not show.

    Raises:
        InputError: images that are on record as calibration images, or look like one that is.
    """
    calibration = _beyond_training(_only(seen, "calibration"), _only(seen, "train"))
    if calibration.kept:
        found, limits = _on_record(judging, calibration)
        _refuse_calibration(judging, found, OTHERS)
        _tell_turned(len(turned_by_look(_bare(judging), calibration)), len(judging), step, "calibration")
        _tell(limits, step, "are calibration images")


def refuse_trained(judging: TensorSource, seen: SeenImages | None, step: str = "quantize") -> None:
    """Pass if the model was trained on no image that decides, as far as `seen`, its record, shows; `step` says what does not show.

    Raises:
        InputError: images that are on record as trained on, or look like one that is.
    """
    if seen is None or not seen.knows_training:
        _tell(["what it was trained on is not on record"], step, "trained the model")
        return
    training = _only(seen, "train")
    found, limits = _on_record(judging, training)
    if rows := _rows(judging, found):
        raise InputError(
            f"expected evaluation images that the model was not trained on, found {len(rows)} training images among {len(judging)}:\n"
            f"{listing(rows, NAMED)}\n{OTHERS}"
        )
    _tell_turned(len(turned_by_look(_bare(judging), training)), len(judging), step, "training")
    _tell(limits, step, "trained the model")


def _refuse_calibration(judging: TensorSource, found: Mapping[str, str], then: str) -> None:
    if rows := _rows(judging, found):
        raise InputError(
            f"expected evaluation images that are not in the calibration set, found {len(rows)} of {len(judging)} that are, or look like "
            f"a calibration image:\n{listing(rows, NAMED)}\n{then}"
        )


def _tied(judging: TensorSource, fitted: TensorSource) -> Ties | None:
    """Those that a split would keep with a calibration image; None of too many images, and where it is not known what they show."""
    if len(judging) + len(fitted) > MOST:
        return None
    files = isinstance(judging, ImageTensors) and isinstance(fitted, ImageTensors)
    theirs, mine = (_fingerprints(source, files=files) for source in (fitted, judging))
    return ties(theirs, mine) if len(theirs) == len(fitted) and len(mine) == len(judging) else None


def _fingerprints(source: TensorSource, *, files: bool) -> list[Fingerprint]:
    """What the files show, or what the network sees; empty where that is not known."""
    if not files:
        return fingerprints_of_rows(batch.x for batch in source.batches(INPUTS_AT_ONCE))
    images = _bare(source)
    return fingerprints(images) if isinstance(images, Images) and images.doubt is None else []


def _on_record(judging: TensorSource, record: SeenImages) -> tuple[dict[str, str], list[str]]:
    """sha256 -> part of the images that are on record, or look like one that is; and what could not be compared."""
    images, preprocess = _bare(judging), _preprocess(judging)
    alike, blind = by_look(images, record, preprocess)
    same, doubtful = by_bytes(images, record)
    return {**alike, **same}, [*not_comparable(images, record, preprocess), *doubtful, *blind]


def _only(seen: SeenImages, kind: str) -> SeenImages:
    """The images that were seen in training, or in calibration: files and rows."""
    parts = frozenset(part for part in seen.kept if part.split()[0] == kind)
    return replace(
        seen,
        parts={part: found for part, found in seen.parts.items() if part in parts},
        filters=tuple(found for found in seen.filters if found.part in parts),
        looks={part: found for part, found in seen.looks.items() if part in parts},
        bytes_only=seen.bytes_only & parts,
        rows=seen.rows & parts,
    )


def _beyond_training(seen: SeenImages, training: SeenImages) -> SeenImages:
    """Without the images that are on record as trained on too: those are told as such."""
    held, looked = (frozenset().union(*sets.values()) for sets in (training.parts, training.looks))
    parts = {part: found - held for part, found in seen.parts.items()}
    return replace(seen, parts=parts, looks={part: found - looked for part, found in seen.looks.items() if found - looked})


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


def _tell(limits: Sequence[str], step: str, what: str) -> None:
    if limits:
        say(f"{step}: not checked in full whether evaluation images {what}: {'; '.join(limits)}")


def _tell_turned(count: int, judging: int, step: str, what: str) -> None:
    if count:
        words = f"{count} of {judging} evaluation images look like a mirrored or turned {what} image"
        say(f"{step}: {words}: if those are of the same class, the decision may be too good")
