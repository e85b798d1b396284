"""Laws of the split: content and seed alone decide; additions never take an image out of train."""

from __future__ import annotations

import hashlib
import random

import pytest

from edgetl.data.images import ImageRef
from edgetl.data.splits import Hashed, assign, enough, position, split_class, without_copies
from edgetl.settings import DataSettings

SETTINGS = DataSettings()


def hashed(label: str, count: int, part: str | None = None, first: int = 0) -> list[Hashed]:
    shas = [hashlib.sha256(f"{label}/{part}/{i}".encode()).hexdigest() for i in range(first, first + count)]
    return [Hashed(where=f"{label}/{sha[:6]}.jpg", label=label, part=part, sha256=sha) for sha in shas]


def parts_of(refs: tuple[ImageRef, ...]) -> dict[str, str]:
    return {ref.sha256: ref.part for ref in refs}


def test_adding_images_and_classes_never_moves_old_ones() -> None:
    before = parts_of(assign(hashed("a", 60) + hashed("b", 60), ("a", "b"), SETTINGS)[0])
    after = parts_of(assign(hashed("a", 200) + hashed("b", 90) + hashed("c", 50), ("a", "b", "c"), SETTINGS)[0])
    assert set(before.values()) == {"train", "val", "test"}
    assert all(after[sha] == part for sha, part in before.items())


def test_order_and_names_do_not_matter() -> None:
    images = hashed("a", 50) + hashed("b", 50)
    renamed = [Hashed(where=f"other/{i}.png", label=image.label, part=None, sha256=image.sha256) for i, image in enumerate(images)]
    random.Random(0).shuffle(renamed)
    assert parts_of(assign(images, ("a", "b"), SETTINGS)[0]) == parts_of(assign(renamed, ("a", "b"), SETTINGS)[0])


def test_shares_hold_over_many_images_and_the_seed_counts() -> None:
    refs, problems = assign(hashed("a", 1000) + hashed("b", 1000), ("a", "b"), SETTINGS)
    shares = {part: sum(ref.part == part for ref in refs) / len(refs) for part in ("train", "val", "test")}
    assert not problems
    assert shares == pytest.approx({"train": 0.6, "val": 0.15, "test": 0.25}, abs=0.04)
    other, _ = assign(hashed("a", 1000) + hashed("b", 1000), ("a", "b"), DataSettings(seed=1))
    assert sum(a.part != b.part for a, b in zip(sorted(refs, key=str), sorted(other, key=str), strict=True)) > 300


def test_position_is_uniform_and_a_function_of_seed_and_content() -> None:
    at = [position(0, image.sha256) for image in hashed("a", 2000)]
    assert 0 <= min(at) < max(at) < 1 and abs(sum(at) / len(at) - 0.5) < 0.03
    assert at == [position(0, image.sha256) for image in hashed("a", 2000)]


@pytest.mark.parametrize("test_share", [0.0, 0.25])
def test_growing_a_small_class_takes_no_image_out_of_train_and_every_part_has_one(test_share: float) -> None:
    for trial in range(100):
        positions: dict[str, float] = {}
        before: dict[str, str] | None = None
        for image in hashed(f"class{trial}", 14):
            positions[image.sha256] = position(0, image.sha256)
            now = split_class(positions, 0.15, test_share)
            if before is not None:
                assert now is not None
                assert all(now[sha] == "train" for sha, part in before.items() if part == "train")
            if now is not None:
                assert set(now.values()) == ({"train", "val", "test"} if test_share else {"train", "val"})
            before = dict(now) if now is not None else None


def test_classes_that_are_too_small_are_named_together_with_what_suffices() -> None:
    _, problems = assign(hashed("a", 1) + hashed("b", 2) + hashed("c", 60), ("a", "b", "c"), SETTINGS)
    assert enough(0.15, 0.25) == 8
    assert problems == [
        "classes with too few images to have one each in train, val and test "
        "(at val_share 0.15, test_share 0.25, 8 are nearly always enough). "
        "Add images, or bring your own train/, val/ and test/ folders. Images found:\n  a: 1\n  b: 2"
    ]


@pytest.mark.parametrize("count", [8, 12, 30])
def test_enough_is_enough(count: int) -> None:
    failed = sum(split_class({i.sha256: position(0, i.sha256) for i in hashed(f"c{n}", count)}, 0.15, 0.25) is None for n in range(200))
    assert failed <= 200 * 0.03


def test_three_brought_parts_stay() -> None:
    images = hashed("a", 3, "train") + hashed("a", 4, "val") + hashed("a", 5, "test")
    refs, problems = assign(images, ("a",), SETTINGS)
    assert not problems and parts_of(refs) == {image.sha256: image.part for image in images}


@pytest.mark.parametrize("judge", ["val", "test"])
def test_val_alone_judges_and_a_fold_of_train_selects(judge: str) -> None:
    train, judging = hashed("a", 100, "train"), hashed("a", 10, judge)
    refs, _ = assign(train + judging, ("a",), SETTINGS)
    found = parts_of(refs)
    assert {sha for sha, part in found.items() if part == "test"} == {image.sha256 for image in judging}
    assert 5 <= sum(part == "val" for part in found.values()) <= 30
    assert sum(part == "train" for part in found.values()) + sum(part == "val" for part in found.values()) == 100


def test_train_alone_is_split_in_three() -> None:
    refs, _ = assign(hashed("a", 100, "train"), ("a",), SETTINGS)
    assert {ref.part for ref in refs} == {"train", "val", "test"}


def test_copies_collapse_and_conflicts_name_every_pair() -> None:
    a, b = hashed("a", 3), hashed("b", 3)
    same = Hashed(where="a/copy.jpg", label="a", part=None, sha256=a[0].sha256)
    assert without_copies([*a, same], "x")[0] == sorted([min(a[0], same, key=lambda i: i.where), *a[1:]], key=lambda i: i.sha256)
    wrong = [Hashed(where=f"b/wrong{i}.jpg", label="b", part=None, sha256=a[i].sha256) for i in (0, 1)]
    _, problems = without_copies([*a, *b, *wrong], "x")
    assert len(problems) == 1 and problems[0].startswith("the same image in two classes. Delete it from the wrong one:\n")
    assert all(f"{a[i].where} (a) = b/wrong{i}.jpg (b)" in problems[0] for i in (0, 1))
