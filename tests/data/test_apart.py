"""What decides is none of what was fitted: real photos that were saved again are found, as files and as rows; what cannot be is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.core.imagefile import decode
from edgetl.core.preprocess import imagenet
from edgetl.core.seen import SeenImages, short_look
from edgetl.data.apart import refuse_calibrating, refuse_trained
from edgetl.data.calibration import open_calibration, open_evaluation
from edgetl.data.fingerprint import look_of
from edgetl.data.npz import open_npz
from edgetl.data.rows import looks_of_rows
from edgetl.data.tensors import TensorSource
from edgetl.data.unseen import COPY_SIGNS, LOOKS_SHOW

from .test_near_pictures import cropped, next_frame, plates

PREPARE = imagenet(64)
FITTED, FRESH, COPIES = 30, 12, 6
KINDS = ["folder", "npz"]


def photos(shared: Path, part: str, count: int) -> list[Image.Image]:
    files = sorted((shared / "data" / "hymenoptera" / part).rglob("*.jpg"))
    return [decode(path.read_bytes(), shorter=160) for path in files[:: len(files) // count][:count]]


def again(image: Image.Image, turn: int) -> tuple[Image.Image, int]:
    """Saved at a poorer quality, at half the size, or in gray; and the quality."""
    match turn % 3:
        case 0:
            return image, 40
        case 1:
            return image.resize((image.width // 2, image.height // 2)), 85
        case _:
            return image.convert("L").convert("RGB"), 85


def jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def source(kind: str, files: list[bytes], place: Path, *, labelled: bool) -> TensorSource:
    """The same photos as a folder, or as rows of an .npz that were prepared as the network takes them."""
    if kind == "npz":
        np.savez(place.with_suffix(".npz"), x=np.stack([PREPARE(file) for file in files]), y=np.arange(len(files)) % 2)
        return open_npz(place.with_suffix(".npz"))
    for number, file in enumerate(files):
        (place / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (place / "ab"[number % 2] / f"{number:02d}.jpg").write_bytes(file)
    return open_evaluation(str(place), PREPARE) if labelled else open_calibration(place, PREPARE)


def sets(shared: Path, root: Path, fitted: str, judging: str, *, planted: bool = True) -> tuple[TensorSource, TensorSource]:
    """Calibration photos; and others to judge, with some of the former behind them, saved again."""
    train, other = photos(shared, "train", FITTED), photos(shared, "val", FRESH)
    copies = [jpeg(*again(image, turn)) for turn, image in enumerate(train[:COPIES])] if planted else []
    return (
        source(fitted, [jpeg(image, 92) for image in train], root / "fitted", labelled=False),
        source(judging, [jpeg(image, 92) for image in other] + copies, root / "judging", labelled=True),
    )


def named(refused: pytest.ExceptionInfo[InputError]) -> set[str]:
    lines = str(refused.value).splitlines()
    return {line.strip().removesuffix(" (looks like one in calibration)") for line in lines if line.endswith("in calibration)")}


@pytest.mark.parametrize("judging", KINDS)
@pytest.mark.parametrize("fitted", KINDS)
def test_calibration_photos_that_were_saved_again_may_not_decide(fitted: str, judging: str, shared: Path, tmp_path: Path) -> None:
    one, other = sets(shared, tmp_path, fitted, judging)
    assert not {*one.hashes} & {*other.hashes}  # no byte is the same
    with pytest.raises(
        InputError, match=r"not in the calibration set, found 6 of 18 that are, or look like a calibration image"
    ) as refused:
        refuse_calibrating(other, one)
    rows = range(FRESH, FRESH + COPIES)
    assert named(refused) == {f"row {row}" if judging == "npz" else f"{'ab'[row % 2]}/{row}.jpg" for row in rows}
    refuse_calibrating(other, one, one_split=True)  # the split has looked, and said so


@pytest.mark.parametrize("judging", KINDS)
@pytest.mark.parametrize("fitted", KINDS)
def test_crops_and_next_frames_of_calibration_photos_may_not_decide(fitted: str, judging: str, shared: Path, tmp_path: Path) -> None:
    """As a split keeps them in one part."""
    rng, train, other = np.random.default_rng(0), photos(shared, "train", FITTED), photos(shared, "val", FRESH)
    moved = [(next_frame if turn % 2 else crop)(image, rng) for turn, image in enumerate(train[:COPIES])]
    one = source(fitted, [jpeg(image, 92) for image in train], tmp_path / "fitted", labelled=False)
    two = source(judging, [jpeg(image, 92) for image in [*other, *moved]], tmp_path / "judging", labelled=True)
    with pytest.raises(InputError, match=r"found 6 of 18 that are, or look like a calibration image") as refused:
        refuse_calibrating(two, one)
    rows = range(FRESH, FRESH + COPIES)
    assert named(refused) == {f"row {row}" if judging == "npz" else f"{'ab'[row % 2]}/{row}.jpg" for row in rows}


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return cropped(image, 0.95, rng)


def test_what_a_record_shows_of_crops_and_next_frames_is_what_is_said_of_it(shared: Path) -> None:
    rng, train = np.random.default_rng(0), photos(shared, "train", 100)
    known = [int(short_look(look_of(image).bits), 16) for image in train]
    for change, share in ((crop, 0.30), (next_frame, 0.66)):
        again = [int(short_look(look_of(change(image, rng)).bits), 16) for image in train]
        found = sum(min((one ^ other).bit_count() for other in known) <= COPY_SIGNS for one in again)
        assert abs(found / 100 - share) < 0.15 and f"{share:.0%}" in LOOKS_SHOW  # three standard errors


@pytest.mark.parametrize("judging", KINDS)
def test_among_too_many_images_crops_are_not_looked_for_and_it_is_said(
    judging: str, shared: Path, tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetl.data.apart.MOST", FITTED + FRESH - 1)
    one, other = sets(shared, tmp_path, judging, judging, planted=False)
    refuse_calibrating(other, one)
    assert told.lines[-1] == f"quantize: not checked in full whether evaluation images are calibration images: {LOOKS_SHOW}"


def test_copies_among_pictures_of_one_kind_may_not_decide_and_what_does_not_show_is_said(tmp_path: Path, told: Any) -> None:
    images = plates(48, 3)
    one = source("folder", [jpeg(image, 92) for image in images[:30]], tmp_path / "fitted", labelled=False)
    fresh = source("folder", [jpeg(image, 92) for image in images[30:]], tmp_path / "fresh", labelled=True)
    refuse_calibrating(fresh, one)
    limit = "copies that were cropped or moved may not show, and mirrored or turned ones do not"
    assert told.lines[-1].endswith(f"are calibration images: these pictures are alike by nature: {limit}")
    copies = [jpeg(image, 60) for image in images[:4]]
    both = source("folder", [jpeg(image, 92) for image in images[30:]] + copies, tmp_path / "both", labelled=True)
    with pytest.raises(InputError, match="found 4 of 22 that are, or look like"):
        refuse_calibrating(both, one)


@pytest.mark.parametrize("judging", KINDS)
@pytest.mark.parametrize("fitted", KINDS)
def test_photos_of_which_none_is_a_copy_decide_and_nothing_is_said(
    fitted: str, judging: str, shared: Path, tmp_path: Path, told: Any
) -> None:
    one, other = sets(shared, tmp_path, fitted, judging, planted=False)
    refuse_calibrating(other, one)
    assert not any("checked" in line for line in told.lines)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_are_refused_even_of_one_split(kind: str, shared: Path, tmp_path: Path) -> None:
    _, other = sets(shared, tmp_path, kind, kind, planted=False)
    for split in (False, True):
        with pytest.raises(InputError, match=r"found 12 of 12 that are.*:\n.*\(calibration\)"):
            refuse_calibrating(other, other, one_split=split)


def test_a_set_of_which_all_are_copies_is_no_set_that_is_alike_by_nature(shared: Path, tmp_path: Path) -> None:
    """Of 8 x 8 pairs, 8 are alike: more than one in twenty, as in sets of one kind of part."""
    few = photos(shared, "train", 8)
    one = source("npz", [jpeg(image, 92) for image in few], tmp_path / "one", labelled=False)
    other = source("npz", [jpeg(*again(image, turn)) for turn, image in enumerate(few)], tmp_path / "other", labelled=True)
    with pytest.raises(InputError, match="found 8 of 8 that are, or look like"):
        refuse_calibrating(other, one)


def test_of_rows_that_are_no_pictures_it_is_said_that_they_cannot_be_checked(tmp_path: Path, told: Any) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=rng.normal(size=(9, 12, 16, 16)).astype(np.float32), y=np.arange(9) % 2)
    refuse_calibrating(open_npz(tmp_path / "a.npz"), open_npz(tmp_path / "b.npz"))
    assert told.lines[-1] == (
        "quantize: not checked in full whether evaluation images are calibration images: "
        "rows of shape [12, 16, 16] are no pictures: whether one looks like one in calibration cannot be checked"
    )


def test_of_a_model_without_a_record_and_of_rows_against_files_it_is_said_too(shared: Path, tmp_path: Path, told: Any) -> None:
    one, other = sets(shared, tmp_path, "folder", "npz")
    refuse_trained(other, None)
    refuse_trained(other, SeenImages.of("s", looks=one.looks, train=one.hashes))
    start = "quantize: not checked in full whether evaluation images trained the model: "
    assert told.lines[-2:] == [
        f"{start}what it was trained on is not on record",
        f"{start}rows of an .npz cannot be compared with image files (train)",
    ]
    rows, _ = sets(shared, tmp_path, "npz", "npz")
    with pytest.raises(InputError, match="found 6 training images among 18"):
        refuse_trained(other, SeenImages.of("s", looks=rows.looks, rows=True, train=rows.hashes))


def test_the_look_of_a_row_is_the_hash_of_its_picture_and_a_blank_row_has_none(shared: Path) -> None:
    """Against imagehash, of the same gray picture; a row may be scaled as it likes."""
    for image in photos(shared, "val", 10):
        gray = np.asarray(image.convert("L"), dtype=np.float32)[None, None]
        mine = looks_of_rows([gray / 50 - 2], ["a"])["a"]
        apart = [
            int(short_look(one), 16) ^ int(short_look(other), 16) for one, other in [(mine, str(imagehash.phash(image, hash_size=16)))]
        ]
        assert apart[0].bit_count() <= 1 < COPY_SIGNS
    assert looks_of_rows([np.ones((2, 3, 9, 9), np.float32)], ["a", "b"]) == {}
