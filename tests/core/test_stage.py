"""Stages: the key is a function of name, version and the fields that count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from edgetl.core.canonical import digest_of
from edgetl.core.stage import Stage
from edgetl.settings import DistillSettings, Runtime


@dataclass(frozen=True, kw_only=True)
class Made:
    text: str


@dataclass(frozen=True, kw_only=True)
class Make(Stage[Made]):
    name: ClassVar[str] = "make"
    settings: DistillSettings = DistillSettings()
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Made:
        return Made(text=str(self.settings.epochs))


class Renamed(Make):
    name: ClassVar[str] = "other"


class Bumped(Make):
    version: ClassVar[int] = 2


def test_the_key_is_the_digest_of_name_version_and_fields() -> None:
    assert Make().key == digest_of(["make", 1, {"settings": DistillSettings().model_dump()}])


@pytest.mark.parametrize("setting", DistillSettings.model_fields)
def test_every_setting_counts_for_the_key(setting: str) -> None:
    unvalidated = DistillSettings.model_construct(**{**dict(DistillSettings()), setting: "another value"})
    assert Make(settings=unvalidated).key != Make().key


def test_name_and_version_count_and_runtime_does_not() -> None:
    assert len({Make().key, Renamed().key, Bumped().key}) == 3
    assert replace(Make(), runtime=Runtime(device="cuda", threads=3)).key == Make().key


def test_a_stage_says_what_it_gives() -> None:
    assert Make.result_type() is Bumped.result_type() is Made


def test_a_stage_that_gives_no_dataclass_is_a_mistake_in_the_code() -> None:
    class Vague(Stage[int]):
        name = "vague"

    with pytest.raises(TypeError, match=r"Vague must derive from Stage\[SomeFrozenDataclass\]"):
        Vague.result_type()
