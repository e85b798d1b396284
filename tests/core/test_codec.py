"""Results go to JSON and come back equal, in whatever folder they lie by then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from edgetl.core.artifacts import Checkpoint, FileArtifact
from edgetl.core.codec import decode, encode


@dataclass(frozen=True, kw_only=True)
class Rich:
    file: Checkpoint
    maybe: FileArtifact | None
    scores: tuple[float, ...]
    counts: Mapping[str, int]
    kind: Literal["int8", "float"]
    extra: Any
    done: bool


def rich(root: Path) -> Rich:
    file = Checkpoint(path=root / "deep" / "a.bin", sha256="0" * 64)
    return Rich(file=file, maybe=None, scores=(0.1, 1.0, 1e-9), counts={"a": 1}, kind="int8", extra={"x": [1, None]}, done=True)


def test_what_is_encoded_comes_back_equal_from_a_folder_that_has_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    text = json.dumps(encode(rich(here), here))
    assert str(tmp_path) not in text
    assert '"deep/a.bin"' in text
    assert decode(Rich, json.loads(text), there) == rich(there)


def test_an_optional_artifact_comes_back(tmp_path: Path) -> None:
    value = Rich(**{**vars(rich(tmp_path)), "maybe": FileArtifact(path=tmp_path / "b", sha256="1" * 64)})
    assert decode(Rich, encode(value, tmp_path), tmp_path) == value


def test_a_path_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        encode(tmp_path / "elsewhere", tmp_path / "here")


@pytest.mark.parametrize("value", [{1, 2}, b"x", 1j, object()], ids=lambda value: type(value).__name__)
def test_a_type_that_results_may_not_hold_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a result may not hold a"):
        encode([value], tmp_path)


@pytest.mark.parametrize(("kind", "data"), [(int, "3"), (str, 3), (Checkpoint, {"path": "a", "sha256": 7})], ids=str)
def test_data_of_another_type_is_refused(kind: type, data: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"expected .*, found"):
        decode(kind, data, tmp_path)
