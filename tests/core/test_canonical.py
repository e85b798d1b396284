"""Keys: equal content gives equal keys, other content other keys, and what is not known is refused."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgetl.core.artifacts import Checkpoint, FileArtifact
from edgetl.core.canonical import canonical, canonical_json, digest_of, file_sha256
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.settings import DistillSettings, QuantizeSettings, Runtime


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    a: int
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset(), b"bytes", 1j, object(), Thing, len, Path("x"), [Path("x")], {"a": {"b": {1}}}, math.nan, math.inf, {1: "a"}],
    ids=lambda value: type(value).__name__,
)
def test_what_the_canonical_form_does_not_know_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form for"):
        canonical(value)


def test_a_path_is_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match="wrap it in an artifact, which has a digest"):
        canonical(Path("photo.jpg"))


def test_the_order_of_a_mapping_does_not_count_and_the_order_of_a_list_does() -> None:
    assert digest_of({"a": 1, "b": [2, {"c": 3, "d": 4}]}) == digest_of({"b": [2, {"d": 4, "c": 3}], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, "1"), (True, 1), (None, "null"), ([1], [[1]]), ("a", ["a"]), (0.1, 0.1 + 1e-17), (0.1, 0.2), (0.0, -0.0)],
    ids=str,
)
def test_values_share_a_digest_only_if_they_are_the_same_json(one: object, other: object) -> None:
    same_json = json.dumps(one) == json.dumps(other)
    assert (digest_of(one) == digest_of(other)) is same_json


@pytest.mark.parametrize("value", [0.1, 1e-300, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0])
def test_floats_survive_the_canonical_form_to_the_last_bit(value: float) -> None:
    back = json.loads(canonical_json(value))
    assert back.hex() == value.hex()


def test_the_digest_is_sha256_of_sorted_compact_utf8_json() -> None:
    text = '{"a":[1,0.5,null,true],"ß":"日本"}'
    assert digest_of({"ß": "日本", "a": (1, 0.5, None, True)}) == hashlib.sha256(text.encode()).hexdigest()


def test_dataclasses_enums_and_settings_enter_by_their_fields() -> None:
    assert canonical(Color.RED) == "red"
    assert canonical(Preprocess(size=32, resize=36))["mean"] == [0.485, 0.456, 0.406]  # type: ignore[index]
    assert canonical(DistillSettings()) == json.loads(DistillSettings().model_dump_json())


def test_every_field_of_every_dataclass_counts_unless_it_is_marked() -> None:
    base = Preprocess(size=32, resize=36)
    for changed in (base.at(40), dataclasses.replace(base, filter="bicubic"), dataclasses.replace(base, mean=(0.5, 0.5, 0.5))):
        assert digest_of(changed) != digest_of(base)
    assert digest_of(Thing(1, Runtime(threads=1))) == digest_of(Thing(1, Runtime(threads=2)))
    assert digest_of(Thing(1)) != digest_of(Thing(2))


def test_a_setting_that_came_later_counts_only_where_it_is_set() -> None:
    plain, kept = QuantizeSettings(), QuantizeSettings(keep_names=True)
    assert canonical(kept) == {**canonical(plain), "keep_names": True} and "keep_names" not in canonical(plain)  # type: ignore[dict-item, operator]


def test_artifacts_enter_by_content_and_never_by_path(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "elsewhere.bin"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    here, there = FileArtifact.of(first), FileArtifact.of(second)
    assert digest_of(here) == digest_of(there)
    assert str(tmp_path) not in canonical_json([here, there])
    second.write_bytes(b"weightz")
    assert digest_of(FileArtifact.of(second)) != digest_of(here)


def test_a_file_is_hashed_in_pieces_as_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    data = bytes(range(256)) * 10_000  # 2.4 pieces
    path.write_bytes(data)
    assert file_sha256(path) == hashlib.sha256(data).hexdigest()
    assert Checkpoint.of(path).digest == Checkpoint.of(path).sha256 == hashlib.sha256(data).hexdigest()


def test_an_artifact_of_nothing_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there"):
        FileArtifact.of(tmp_path / "missing")
    with pytest.raises(InputError, match="found a folder there"):
        FileArtifact.of(tmp_path)
