"""Test images, those among them that a model has seen, and whether that could be found out at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import LOOK_SIDE, UNNAMED, SeenImages, short_look
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.rows import are_pictures, looks_of_rows
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.data.turned import TURNED, Orientation
from edgetl.metrics.recall import binomial_tail

# Of the 64 signs of a short look, measured on photos: copies saved again at quality 20 and more, or at half the size, differ in 5
# at most; unrelated photos in 11 at least. Docs: adr/0030.
COPY_SIGNS = 5
ALIKE_SIGNS = 16  # where 1 pair in 20 of seen and test images differs in no more, pictures are alike by nature, and looks say nothing
ALIKE_SHARE = 0.05
BY_CHANCE = 1e-3  # odds at which hits of a filter are no longer put down to its errors
# Measured: 120 and 263 of 398. Docs: adr/0030.
LOOKS_SHOW = (
    "a seen photo that was saved again or made smaller is found by its record, most crops and many next frames are not "
    "(of 398 photos cropped to 95% of each side 30% were, of next frames 66%)"
)
TOLD = 0.01  # odds that a filter is wrong about any image at all, from which on it is said
BLOCK_IMAGES = 1024  # test images compared at a time
INPUTS_AT_ONCE = 64  # prepared images held while their looks are taken
Judging = Images | NpzTensors | NpzRows


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Test images compared with a record of seen images.

    Attributes:
        found: sha256 -> how it was seen, of those that were: the part, and whether it only looks like an image of it.
        limits: what the comparison could not see; sentences without a full stop. They say that there was none where `complete` is false.
        turned: sha256 of those that look like one on record if they are mirrored or turned, and are none of `found`.
        complete: whether every kind of image on record was compared with every test image, byte by byte at least, and the pretrained
            weights name what they were trained on.
    """

    found: Mapping[str, str]
    limits: tuple[str, ...]
    complete: bool
    turned: frozenset[str] = frozenset()


def compare_with_record(data: Judging, record: SeenImages | None, preprocess: Preprocess | None = None) -> Comparison:
    """Find the images of `data` that are on `record`, byte by byte and, where looks are known, by what they look like.

    With `preprocess`, that of the model, image files are compared with rows of an .npz too: by what the network would see of them.
    """
    if record is None or not record.kept:
        return Comparison(found={}, limits=("no record of what the model has seen lies in its file or beside it",), complete=False)
    found, doubtful = by_bytes(data, record)
    untold = [] if record.knows_training else [f"what the model was trained on is not on record ({', '.join(record.kept)} is)"]
    untold += not_comparable(data, record, preprocess)
    alike, blind = by_look(data, record, preprocess)
    found = {**alike, **found}
    unnamed = [name for name in record.by_name if name.startswith(UNNAMED)]
    untold += [f"the pretrained weights do not say what they were trained on ({', '.join(unnamed)})"] if unnamed else []
    named = [name for name in record.by_name if name not in unnamed]
    named_only = [f"the training images of the pretrained weights ({', '.join(named)}) are known by name only"] if named else []
    turned = turned_by_look(data, record) - found.keys()
    return Comparison(found=found, limits=(*untold, *doubtful, *blind, *named_only), complete=not untold, turned=turned)


def by_bytes(data: Judging, record: SeenImages) -> tuple[dict[str, str], list[str]]:
    """sha256 -> part of the images on record; and what a filter leaves in doubt.

    Hits of a filter count where they are more than its errors explain: n images and a false-positive rate p give
    Binomial(n, p) of them.
    """
    found = {sha: part for sha in data.hashes if (part := record.part_of(sha))}
    rate, count = record.false_positive_rate, len(data)
    if rate * count < TOLD:
        return found, []
    exact = {sha: part for sha, part in found.items() if replace(record, filters=()).part_of(sha)}
    least = _beyond_chance(count, rate)
    words = f"the record in the file is a filter that takes {rate:.2g} of all unseen images for seen ones: of {count}, fewer than {least}"
    return (found if len(found) - len(exact) >= least else exact), [f"{words} that were seen do not show"]


def _beyond_chance(count: int, rate: float) -> int:
    """The least number of hits among `count` that a filter's errors give with odds below `BY_CHANCE`."""
    return bisect_left(range(count + 1), True, key=lambda hits: binomial_tail(hits, count, rate) < BY_CHANCE)


def by_look(data: Judging, record: SeenImages, preprocess: Preprocess | None = None) -> tuple[dict[str, str], list[str]]:
    """sha256 -> part of the images that look like one on record (saved again, in another size); and what could not be compared.

    Of crops and next frames such a look shows a part only, and that is said (`LOOKS_SHOW`).
    Files are compared with files, rows of an .npz with rows; files with rows too where `preprocess` says what the network sees of them.
    """
    rows = sorted(part for part in record.kept if part in record.rows)
    if not isinstance(data, Images):
        return _alike(data.hashes, data.looks, record, rows, _no_pictures(data, rows) or _without_looks(record, rows))
    found, limits = _alike(data.hashes, data.looks, record, [part for part in record.looks if part not in rows], [])
    parts = " or ".join(sorted(record.bytes_only))
    blind = [f"a {parts} image that was saved again is not recognized, since the record of {parts} has no perceptual hashes"]
    limits = [*(blind if record.bytes_only else []), *limits]
    if not (rows and preprocess):
        return found, limits
    shown = as_inputs(ImageTensors(images=data, preprocess=preprocess))
    also, more = _alike(data.hashes, shown, record, rows, _without_looks(record, rows))
    return {**also, **found}, [*limits, *(limit for limit in more if limit not in limits)]


def turned_by_look(data: Judging, record: SeenImages) -> frozenset[str]:
    """sha256 of the images that look like one on record if they are mirrored, or turned by quarters.

    Classes are not on record: where mirroring makes another class of a picture, it is no copy. So these are told, not refused.
    """
    parts = [part for part in record.looks if (part in record.rows) != isinstance(data, Images)]
    return frozenset(sha for how in TURNED for sha in _alike(data.hashes, data.looks, record, parts, [], how)[0])


def as_inputs(source: TensorSource) -> dict[str, str]:
    """sha256 -> perceptual hash of what the network sees of each sample, where that is a picture."""
    return looks_of_rows((batch.x for batch in source.batches(INPUTS_AT_ONCE)), source.hashes)


def _no_pictures(data: NpzTensors | NpzRows, parts: Sequence[str]) -> list[str]:
    shape = (data.whole if isinstance(data, NpzRows) else data).shape
    words = f"rows of shape {list(shape[1:])} are no pictures: whether one looks like one in {' or '.join(parts)} cannot be checked"
    return [words] if parts and not are_pictures(shape) else []


def _without_looks(record: SeenImages, parts: Sequence[str]) -> list[str]:
    blind = " or ".join(part for part in parts if part not in record.looks)
    return [f"whether a row looks like one in {blind} cannot be checked: the record of {blind} has no perceptual hashes"] if blind else []


def _alike(
    hashes: Sequence[str],
    looks: Mapping[str, str],
    record: SeenImages,
    parts: Sequence[str],
    limits: list[str],
    how: Orientation | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Those of `hashes` whose look is that of one on record in `parts`: sha256 -> which part; and `limits` with what is to be added.

    With `how`, their looks are those of the images held that way.
    """
    compared = {part: record.looks[part] for part in sorted(parts) if part in record.looks}
    known = [(sha, short_look(looks[sha])) for sha in hashes if sha in looks]
    if not compared or not known:
        missing = f"{len(hashes)} images have no perceptual hash: copies that were saved again are not recognized"
        return {}, [*limits, missing] if compared and hashes and not limits else limits
    if len(known) < len(hashes):
        limits = [*limits, f"{len(hashes) - len(known)} images have no perceptual hash: copies that were saved again are not recognized"]
    mine = _signs([look for _, look in known])
    mine = mine if how is None else np.ascontiguousarray(how.signs(mine.reshape(-1, LOOK_SIDE, LOOK_SIDE))).reshape(mine.shape)
    found: dict[str, str] = {}
    told: list[str] = []
    for part, theirs in compared.items():
        distances = _distances(mine, _signs(sorted(theirs)))
        if distances.alike_by_nature:
            words = f"these pictures and those in {part} are alike by nature: a copy that was saved again, mirrored or turned does not show"
            told.append(words)
            continue
        near = np.flatnonzero(distances.nearest <= COPY_SIGNS)
        found = {**{known[row][0]: f"looks like one in {part}" for row in near}, **found}
    return found, [*limits, *told, *([LOOKS_SHOW] if len(told) < len(compared) else [])]


@dataclass(frozen=True, kw_only=True)
class _Distances:
    """Of test images to those on record, in signs that differ: int64 [n] to the nearest one; and of a part of all pairs."""

    nearest: NDArray[np.int64]
    usual: NDArray[np.int64]

    @property
    def alike_by_nature(self) -> bool:
        """Whether pairs that are no copies are alike too; where all are copies, nothing says that they are not."""
        others = self.usual[self.usual > COPY_SIGNS]
        return len(others) < len(self.usual) / 2 or bool(np.quantile(others, ALIKE_SHARE) <= ALIKE_SIGNS)


def _distances(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> _Distances:
    nearest, usual = [], []
    for start in range(0, len(mine), BLOCK_IMAGES):
        # signs are +1 and -1: their product is the number of equal ones minus the number of different ones
        apart = ((theirs.shape[1] - mine[start : start + BLOCK_IMAGES] @ theirs.T) / 2).round().astype(np.int64)
        nearest.append(apart.min(1))
        usual.append(apart.ravel()[:: 1 + apart.size // 100_000])
    return _Distances(nearest=np.concatenate(nearest), usual=np.concatenate(usual))


def _signs(looks: list[str]) -> NDArray[np.float32]:
    """Float32 [n, 64] of +1 and -1."""
    return np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(look), np.uint8)).astype(np.float32) * 2 - 1 for look in looks])


def not_comparable(data: Judging, record: SeenImages, preprocess: Preprocess | None) -> list[str]:
    """Which kinds of images cannot be compared with those on record byte by byte."""
    rows, files = [part for part in record.kept if part in record.rows], [part for part in record.kept if part not in record.rows]
    if not isinstance(data, Images):
        return [f"rows of an .npz cannot be compared with image files ({', '.join(files)})"] if files else []
    if rows and preprocess and all(part in record.looks for part in rows):
        return [f"rows of an .npz ({', '.join(rows)}) are compared with image files by look only, as the model would see these"]
    return [f"rows of an .npz ({', '.join(rows)}) cannot be compared with image files"] if rows else []


def without_hashes(data: Images | NpzTensors, hashes: Collection[str]) -> Images | NpzRows:
    """The samples that have none of these hashes."""
    if isinstance(data, Images):
        return replace(data, refs=tuple(ref for ref in data.refs if ref.sha256 not in hashes))
    return NpzRows(whole=data, rows=tuple(row for row, sha in enumerate(data.hashes) if sha not in hashes))


def places(data: Judging) -> list[tuple[str, str]]:
    """Where each sample lies, for people, and its sha256."""
    if isinstance(data, Images):
        return sorted((ref.where, ref.sha256) for ref in data.refs)
    return list(zip(data.places, data.hashes, strict=True))
