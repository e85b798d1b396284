"""SeenImages: what a model has seen is known again by content, in any process, from one line of text."""

from __future__ import annotations

import hashlib

import pytest

from edgetl.core.errors import InputError
from edgetl.core.seen import SeenImages


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
    with pytest.raises(InputError, match="expected a record of seen images, found something else"):
        SeenImages.from_json(text)


def test_more_images_can_be_added_and_the_old_record_stays() -> None:
    train, val, late = ("a" * 64, "b" * 64, "c" * 64)
    before = SeenImages.of("split", train=[train], val=[val])
    after = before.also(val=[late], calibration=[train])
    assert after.parts == {"train": {train[:16]}, "val": {val[:16], late[:16]}, "calibration": {train[:16]}}
    assert before.parts["val"] == {val[:16]} and after.digest != before.digest
