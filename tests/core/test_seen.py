"""SeenImages: what a model has seen is known again by content, in any process, from one line of text."""

from __future__ import annotations

import hashlib

import pytest

from edgetl.core.errors import InputError
from edgetl.core.seen import SeenImages
from edgetl.core.seenfilter import SeenFilter


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_every_seen_image_is_found_in_its_part_and_no_other_is() -> None:
    seen = SeenImages.of("s", train=map(sha, range(300)), val=map(sha, range(300, 400)))
    assert {seen.part_of(sha(i)) for i in range(300)} == {"train"}
    assert {seen.part_of(sha(i)) for i in range(300, 400)} == {"val"}
    assert {seen.part_of(sha(i)) for i in range(400, 2000)} == {None}


def test_one_line_of_json_brings_it_back_and_order_leaves_no_trace() -> None:
    seen = SeenImages.of("split", train=map(sha, range(50)), calibration=[])
    text = seen.to_json()
    assert "\n" not in text
    assert SeenImages.from_json(text) == seen
    assert SeenImages.of("split", calibration=[], train=map(sha, reversed(range(50)))).to_json() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"split": "s", "sha256_prefix_bytes": 4, "parts": {}}',
        '{"split": "s", "sha256_prefix_bytes": 8, "parts": []}',
        '{"split": "s", "sha256_prefix_bytes": 8, "parts": {"train": "not base64!"}}',
    ],
)
def test_other_text_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InputError, match="expected a record of the images that a model was trained on, found other content"):
        SeenImages.from_json(text)


def test_more_images_can_be_added_and_the_old_record_stays() -> None:
    train, val, late = ("a" * 64, "b" * 64, "c" * 64)
    before = SeenImages.of("split", train=[train], val=[val])
    after = before.also(val=[late], calibration=[train])
    assert after.parts == {"train": {train[:16]}, "val": {val[:16], late[:16]}, "calibration": {train[:16]}}
    assert before.parts["val"] == {val[:16]} and after.digest != before.digest


def test_parts_of_rows_and_files_looks_and_names_come_back_from_json() -> None:
    looks = {sha(i): f"{i:064x}" for i in range(20)}
    seen = SeenImages.of("s", looks=looks, train=map(sha, range(20)), val=map(sha, range(30, 34)))
    seen = seen.also(rows=True, calibration=[sha(50)], val=[sha(51)]).knowing("imagenet1k")
    assert seen.bytes_only == {"val"} and seen.rows == {"calibration", "val rows"} and seen.by_name == ("imagenet1k",)
    assert SeenImages.from_json(seen.to_json()) == seen
    assert SeenImages.from_json(seen.compact().to_json()) == seen.compact()


def test_what_was_learned_first_comes_first_and_nothing_is_said_twice() -> None:
    first, second = SeenImages.of("a", train=[sha(1)]).knowing("cifar10"), SeenImages.of("b", train=[sha(2)]).knowing("photos")
    both = second.beside(first)
    assert both.split == "b" and both.trained_on == ("cifar10", "photos") and both.beside(first) == both
    assert both.part_of(sha(1)) == both.part_of(sha(2)) == "train"


def test_a_compact_record_holds_every_image_in_few_bytes() -> None:
    for count in (10, 500, 3000, 60_000):
        seen = SeenImages.of("s", train=map(sha, range(count)), val=map(sha, range(count, count + count // 5)))
        small = seen.compact()
        assert not small.parts and len(small.to_json()) < 7000
        assert all(small.part_of(sha(i)) for i in range(count + count // 5))
        assert small.compact() == small and small.kept == ("train", "val")


@pytest.mark.parametrize(("images", "most_bytes"), [(2000, 3072), (1000, 700), (4000, 2500), (300, 60)])
def test_a_filter_is_wrong_as_often_as_blooms_formula_says(images: int, most_bytes: int) -> None:
    """Among 20,000 strangers; the tolerance is four standard errors and what the formula itself is off for small filters."""
    found = SeenFilter.of("train", [sha(i)[:16] for i in range(images)], most_bytes)
    strangers = 20_000
    wrong = sum(sha(i)[:16] in found for i in range(10**6, 10**6 + strangers)) / strangers
    expected = found.false_positive_rate
    assert 0 < expected < 1
    assert abs(wrong - expected) <= 4 * (expected * (1 - expected) / strangers) ** 0.5 + 0.1 * expected
