"""Mirrored and turned copies: planted ones are found, other pictures are left alone, and what mirroring makes another class is no copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Transpose
from scipy.fft import dctn

from edgetl.core.imagefile import decode
from edgetl.core.preprocess import imagenet
from edgetl.core.seen import SeenImages
from edgetl.data.admitted import admit
from edgetl.data.apart import refuse_calibrating, refuse_trained
from edgetl.data.calibration import open_calibration, open_evaluation, open_labelled
from edgetl.data.earlier import Earlier, write_split
from edgetl.data.fingerprint import Fingerprint, look_of
from edgetl.data.images import Images
from edgetl.data.near import grouped
from edgetl.data.npz import open_npz
from edgetl.data.sources import open_images
from edgetl.data.turned import TURNED, Orientation
from edgetl.data.unlabelled import open_unlabelled
from edgetl.data.unseen import LOOKS_SHOW
from edgetl.settings import DataSettings

from .test_near_pictures import cropped, mixed, next_frame, plates, recall, saved

WAYS = tuple(Transpose)  # Pillow's seven: the independent way to hold a picture
Picture = Image.Image
SQUASHED = imagenet(64).fitted("squash")


@pytest.fixture(scope="module")
def insects(shared: Path) -> list[Picture]:
    return [decode(path.read_bytes(), shorter=256) for path in sorted((shared / "data" / "hymenoptera").rglob("*.jpg"))[::3]]


def by_pillow(how: Orientation, pixels: np.ndarray) -> np.ndarray:
    """The same with Pillow: transposed, upside down, left for right."""
    image = Image.fromarray(pixels)
    for wanted, way in (
        (how.transposed, Transpose.TRANSPOSE),
        (how.down, Transpose.FLIP_TOP_BOTTOM),
        (how.right, Transpose.FLIP_LEFT_RIGHT),
    ):
        image = image.transpose(way) if wanted else image
    return np.asarray(image)


@pytest.mark.parametrize("how", TURNED)
def test_signs_of_a_turned_picture_are_those_of_its_frequencies(how: Orientation) -> None:
    pixels = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    turned = by_pillow(how, pixels)
    np.testing.assert_array_equal(how.picture(pixels), turned)
    signs = np.sign(dctn(pixels)[:16, :16]).astype(np.float32)
    np.testing.assert_array_equal(how.signs(signs), np.sign(dctn(turned)[:16, :16]))


def test_the_seven_ways_are_different_and_none_is_the_picture_itself() -> None:
    pixels = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert len({how.picture(pixels).tobytes() for how in TURNED} | {pixels.tobytes()}) == 8 == len(WAYS) + 1


CHANGES = {
    "as it is": (lambda image, rng: image, 1.0),
    "saved again": (lambda image, rng: decode(saved(image, 40)), 1.0),
    "half size": (lambda image, rng: image.resize((image.width // 2, image.height // 2)), 1.0),
    "gray": (lambda image, rng: image.convert("L").convert("RGB"), 1.0),
    "next frame": (next_frame, 0.85),
    "cropped to 95%": (lambda image, rng: cropped(image, 0.95, rng), 0.4),
}


@pytest.mark.parametrize("change", CHANGES)
def test_turned_copies_of_real_photos_are_found_and_nothing_else_is(change: str, insects: list[Picture]) -> None:
    rng, count = np.random.default_rng(0), len(insects)
    (changed, least), own = CHANGES[change], list(range(0, count, 4))
    looks = [look_of(image) for image in insects]
    alone = grouped(looks, ["a"] * count)
    assert len(set(alone.group.tolist())) == count and not alone.by_nature
    copies = [look_of(changed(insects[of].transpose(WAYS[turn % 7]), rng)) for turn, of in enumerate(own)]
    found = grouped([*looks, *copies], ["a"] * (count + len(own)))
    assert recall(found, own, count) >= least and mixed(found, [*range(count), *own]) == 0
    assert recall(grouped([*looks, *copies]), own, count) < 0.1  # without classes none is looked for


def test_a_mirrored_picture_of_another_class_is_no_copy_and_one_without_a_class_may_be(insects: list[Picture]) -> None:
    looks = [look_of(image) for image in insects[:20]] + [look_of(image.transpose(Transpose.FLIP_LEFT_RIGHT)) for image in insects[:20]]
    for other, groups in (("right", 40), ("left", 20), (None, 20)):
        assert len(set(grouped(looks, ["left"] * 20 + [other] * 20).group.tolist())) == groups


def letters(count: int, seed: int) -> list[tuple[str, Picture]]:
    """b, d, p and q, drawn a little otherwise each time; and half of them are the mirror image of another one, of the other class."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count // 2):
        sheet = np.full((48, 48), 220.0) + rng.normal(0, 14, (48, 48))
        down, right = np.mgrid[:48, :48]
        x, radius = rng.uniform(13, 19), rng.uniform(7, 10)
        sheet[6:42, int(x) : int(x) + 4] = 40
        sheet[np.abs(np.hypot(down - rng.uniform(28, 33), right - x - radius - 2) - radius) < 2.2] = 40
        letter = Image.fromarray(sheet.clip(0, 255).astype(np.uint8))
        found += [("b", letter), ("d", letter.transpose(Transpose.FLIP_LEFT_RIGHT))]
    return found


def test_where_mirroring_makes_another_class_no_photo_is_lost(tmp_path: Path, told: Any) -> None:
    """Each d is the mirror image of a b: the parts are as they were, and of the record it is only said."""
    drawn = letters(120, 0)
    for number, (label, image) in enumerate(drawn):
        (folder := tmp_path / "letters" / label).mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    looks, classes = [look_of(image) for _, image in drawn], [label for label, _ in drawn]
    pairs = {(int(a), int(b)) for a, b in grouped(looks, classes).pairs}
    assert not any(classes[a] != classes[b] for a, b in pairs - {(int(a), int(b)) for a, b in grouped(looks).pairs})
    images = open_images(str(tmp_path / "letters"), DataSettings())
    assert len(images) == 120 and images.intake.near_duplicates_left_out == 0
    test = images.only("test")
    seen = admit(test, images.seen())
    assert len(seen.data) == len(test) and seen.seen == "checked"


def filled(root: Path, images: list[Picture], label: str) -> None:
    (root / label).mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (root / label / f"{number:02d}.jpg").write_bytes(saved(image, 90))


def test_a_split_keeps_mirrored_and_turned_copies_in_one_part(insects: list[Picture], tmp_path: Path, told: Any) -> None:
    for label, first in (("a", 0), ("b", 40)):
        filled(tmp_path / "x", insects[first : first + 40], label)
        for turn, image in enumerate(insects[first : first + 14]):
            (tmp_path / "x" / label / f"{turn:02d}-turned.jpg").write_bytes(saved(image.transpose(WAYS[turn % 7]), 60))
    for seed in range(5):
        images = open_images(str(tmp_path / "x"), DataSettings(seed=seed))
        parts: dict[str, set[str]] = {}
        for ref in images.refs:
            parts.setdefault(ref.where.split("-")[0].removesuffix(".jpg"), set()).add(ref.part)
        assert len(images) == 108 and len(parts) == 80 and all(len(of) == 1 for of in parts.values())
        assert images.intake.near_duplicates == 56


def test_turned_training_photos_in_the_users_test_part_are_named(insects: list[Picture], tmp_path: Path, told: Any) -> None:
    for label, first in (("a", 0), ("b", 40)):
        filled(tmp_path / "x" / "train", insects[first : first + 30], label)
        filled(tmp_path / "x" / "test", insects[first + 30 : first + 40], label)
        for turn, image in enumerate(insects[first : first + 7]):
            (tmp_path / "x" / "test" / label / f"turned-{turn}.jpg").write_bytes(saved(image.transpose(WAYS[turn]), 60))
    images = open_images(str(tmp_path / "x"), DataSettings())
    places = {ref.sha256: ref.where for ref in images.refs}
    assert {places[sha] for sha in images.alike_beyond("test")} == {
        f"test/{label}/turned-{turn}.jpg" for label in "ab" for turn in range(7)
    }
    kept = admit(images.only("test"), images.seen(), "drop", alike=images.alike_beyond("test"))
    assert len(kept.data) == 20


def test_photos_of_a_run_keep_their_parts_though_copies_among_them_are_recognized_now(insects: list[Picture], tmp_path: Path) -> None:
    """As a run of before left them: a photo and its mirror image in two parts."""
    for label, first in (("a", 0), ("b", 40)):
        filled(tmp_path / "x", insects[first : first + 30], label)
        for turn, image in enumerate(insects[first : first + 12]):
            (tmp_path / "x" / label / f"mirrored-{turn}.jpg").write_bytes(saved(image.transpose(Transpose.FLIP_LEFT_RIGHT), 80))
    settings, split = DataSettings(), tmp_path / "split.json"
    fresh = open_images(str(tmp_path / "x"), settings)
    torn = tuple(ref if "mirrored" not in ref.where else type(ref)(**{**vars(ref), "part": "test"}) for ref in fresh.refs)
    before = Images(name="x", classes=fresh.classes, refs=torn, source=fresh.source)
    write_split(split, before, settings)
    after = open_images(str(tmp_path / "x"), settings, earlier=Earlier.read(split, settings).parts)
    assert {ref.sha256: ref.part for ref in after.refs} == {ref.sha256: ref.part for ref in torn} and len(after) == 84


def test_a_turned_copy_of_a_seen_photo_is_told_and_left_out_where_seen_ones_are(insects: list[Picture], tmp_path: Path) -> None:
    """The record holds no classes: so it is not refused."""
    filled(tmp_path / "seen", insects[:30], "a")
    filled(tmp_path / "seen", insects[30:60], "b")
    filled(tmp_path / "test", insects[60:80], "a")
    filled(tmp_path / "test", insects[80:100], "b")
    for turn, way in enumerate(WAYS):
        (tmp_path / "test" / "a" / f"turned-{turn}.jpg").write_bytes(saved(insects[turn].transpose(way), 60))
    before, data = open_labelled(str(tmp_path / "seen")), open_labelled(str(tmp_path / "test"))
    assert isinstance(before, Images)
    record = SeenImages.of("s", looks=before.looks, train=before.hashes)
    told = admit(data, record)
    assert len(told.data) == 47 and told.seen == "checked"
    assert told.reason == (
        f"{LOOKS_SHOW}; 7 of these 47 images look like a mirrored or turned one that a model has seen: "
        "if those are of the same class, scores may be too good"
    )
    assert len(admit(data, record, "drop").data) == 40


@pytest.mark.parametrize("rows", [False, True])
def test_turned_calibration_and_training_photos_that_decide_are_told(rows: bool, insects: list[Picture], tmp_path: Path, told: Any) -> None:
    fitted, judging = insects[:24], [image.transpose(way) for image, way in zip(insects, WAYS, strict=False)] + insects[30:42]
    if rows:
        for name, images in (("fitted", fitted), ("judging", judging)):
            x = np.stack([SQUASHED(saved(image, 85)) for image in images])
            np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(len(x)) % 2)
        one, other = open_npz(tmp_path / "fitted.npz"), open_npz(tmp_path / "judging.npz")
    else:
        for label in "ab":
            filled(tmp_path / "fitted", fitted["ab".index(label) :: 2], label)
            filled(tmp_path / "judging", judging["ab".index(label) :: 2], label)
        one, other = open_calibration(tmp_path / "fitted", SQUASHED), open_evaluation(str(tmp_path / "judging"), SQUASHED)
    refuse_calibrating(other, one)
    refuse_trained(other, SeenImages.of("s", looks=one.looks, rows=rows, train=one.hashes))
    assert [line for line in told.lines if "turned" in line] == [
        f"quantize: 7 of 19 evaluation images look like a mirrored or turned {what} image: if those are of the same class, "
        "the decision may be too good"
        for what in ("calibration", "training")
    ]


def test_unlabelled_photos_that_are_turned_test_photos_are_left_out(insects: list[Picture], tmp_path: Path) -> None:
    filled(tmp_path / "x", insects[:30], "a")
    filled(tmp_path / "x", insects[30:60], "b")
    images = open_images(str(tmp_path / "x"), DataSettings())
    (tmp_path / "more").mkdir()
    for number, ref in enumerate(images.only("test").refs):
        image = Image.open(tmp_path / "x" / ref.where).transpose(WAYS[number % 7])
        (tmp_path / "more" / f"{number}.jpg").write_bytes(saved(image, 70))
    for number, image in enumerate(insects[60:80]):
        (tmp_path / "more" / f"new {number}.jpg").write_bytes(saved(image, 70))
    assert len(open_unlabelled(tmp_path / "more", images)) == 20


def test_pictures_of_one_kind_of_part_stay_as_they_were() -> None:
    """Alike by nature: turned copies are not looked for, and nothing is tied that was not."""
    looks = [look_of(image) for image in plates(150, 3)]
    one, other = grouped(looks), grouped(looks, ["a"] * 150)
    assert one.by_nature and np.array_equal(one.group, other.group)


def test_few_images_and_images_without_thumbnails_are_grouped_as_before(insects: list[Picture]) -> None:
    looks = [look_of(image) for image in insects[:3]]
    assert len(set(grouped(looks, list("aaa")).group.tolist())) == 3
    assert len(set(grouped([Fingerprint(bits=look.bits) for look in looks], list("aaa")).group.tolist())) == 3
