"""The test images that no model was trained, selected or calibrated on, as far as the records show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.unseen import compare_with_record, places, without_hashes

# What is said of images that look like one that was seen, and what follows.
ALIKE = ("one in train or val", ", so scores may be too good")
TURNED = ("a mirrored or turned one that a model has seen", ": if those are of the same class, scores may be too good")


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """Test images, and whether it was checked that no model has seen them.

    Attributes:
        seen: `checked` where they were compared with all that is on record of every model; `waived` where images that were seen
            may judge, as asked.
        reason: what the comparison could not see, or why there was none; None where there is nothing to say.
    """

    data: Images | NpzTensors | NpzRows
    seen: Literal["checked", "not checked", "waived"]
    reason: str | None


def admit(
    data: Images | NpzTensors,
    record: SeenImages | None,
    seen: Literal["refuse", "drop", "accept"] = "refuse",
    *,
    waived: str | None = None,
    unrecorded: Sequence[str] = (),
    alike: Collection[str] = (),
    preprocess: Preprocess | None = None,
) -> Admitted:
    """The images that may judge.

    Args:
        data: labelled test images.
        record: of all models that are judged or compared with.
        seen: what becomes of images that were seen: they are refused, left out, or judge all the same.
        waived: why images that were seen may judge; None if they may not.
        unrecorded: the models of whose training there is no record.
        alike: sha256 of images that look like one that a model was trained or selected on, as the split has found: the user put both
            there. They are left out where images that were seen are, and told otherwise.
        preprocess: of the model, by which image files are compared with rows of an .npz that it has seen.

    Raises:
        InputError: images that were seen, if they are not to be dropped; nothing left.
    """
    if waived is not None:
        return Admitted(data=data, seen="waived", reason=waived)
    compared, known = compare_with_record(data, record, preprocess), _known_set(data, record)
    if seen == "accept" and (known or compared.found):
        why = known or f"{len(compared.found)} of {len(data)} images were seen"
        return Admitted(data=data, seen="waived", reason=f"{why} (--seen-images accept)")
    if known:
        raise InputError(
            f"expected test images that the model has not seen, found {known}: its score would prove nothing. "
            "Give other images, or use these nevertheless with --seen-images accept"
        )
    limits = [*compared.limits, *(f"there is no record of the training images of {name}" for name in unrecorded)]
    kept: Images | NpzTensors | NpzRows = data
    if found := compared.found:
        if seen == "refuse":
            raise _refusal(data, found)
        say(f"verify: dropped {len(found)} images that the model has seen in training")
        kept = without_hashes(data, found)
        limits.append(f"{len(found)} images that were on record are left out")
    for beside, words in ((alike, ALIKE), (compared.turned, TURNED)):
        kept, told = _beside(data, kept, beside, words, drop=seen == "drop")
        limits += told
    if not len(kept):
        raise InputError("expected test images that the model has not seen, found none: it has seen all of them. Give other images")
    complete = compared.complete and not unrecorded
    reason = "; ".join(limits) or None
    if not complete:
        say(f"verify: not checked whether a model has seen these images in training: {reason}")
    return Admitted(data=kept, seen="checked" if complete else "not checked", reason=reason)


def _beside(
    data: Images | NpzTensors, kept: Images | NpzTensors | NpzRows, alike: Collection[str], words: tuple[str, str], *, drop: bool
) -> tuple[Images | NpzTensors | NpzRows, list[str]]:
    """The images of `data` that are left of `kept`, and what is said of those that look like one that was seen."""
    beside = set(alike) & set(kept.hashes)
    if not beside:
        return kept, []
    one, so = words
    said = f"{len(beside)} of these {len(kept)} images {'looks' if len(beside) == 1 else 'look'} like {one}"
    if not drop:
        return kept, [f"{said}{so}"]
    return without_hashes(data, (set(data.hashes) - set(kept.hashes)) | beside), [f"{said}, left out"]


def _refusal(data: Images | NpzTensors, found: Mapping[str, str]) -> InputError:
    """Which images were seen, sha256 -> as what."""
    rows = [f"{place} ({found[sha]})" for place, sha in places(data) if sha in found]
    return InputError(
        f"expected test images that the model has not seen, found {len(found)} of {len(data)} "
        f"that were used to train, select or calibrate it:\n"
        f"{listing(rows, 8)}\nRemove them, or let edgetl leave them out with --seen-images drop"
    )


def _known_set(data: Images | NpzTensors, record: SeenImages | None) -> str | None:
    """What is wrong with a data set of which the record holds the name and no image; None where nothing is."""
    if isinstance(data, Images) and record and data.origin and data.origin in record.by_name:
        return f"{data.origin}, which its pretrained weights were trained on"
    return None


def labels_of(data: Images | NpzTensors | NpzRows, classes: Sequence[str]) -> NDArray[np.int64]:
    """The labels that judge, int64 [n], each an index into `classes`.

    Raises:
        InputError: there are none, or some are beyond the classes.
    """
    labels = data.labels
    if labels is None:
        raise InputError("expected labelled test images, found an .npz file without `y`. Add the labels (int) as `y`")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(
            f"expected labels 0 to {len(classes) - 1}, found {labels.min()} to {labels.max()}. Give images of the model's classes"
        )
    return np.asarray(labels)
