"""Options that commands share are one declaration: the same words everywhere, in the place where the command names their group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from edgetl.cli.app import app
from edgetl.cli.settings_options import OptionGroup, with_settings
from edgetl.core.errors import SettingsError
from edgetl.pipeline_options import PipelineOptions
from edgetl.settings import ExportSettings

SHARED = (
    "config",
    "assign",
    "device",
    "pixel_memory",
    "pixel_disk",
    "root",
    "preprocess",
    "labels",
    "output",
    "unlabeled",
    "verbose",
    "as_json",
)


@dataclass(frozen=True, kw_only=True)
class Speed(OptionGroup):
    fast: Annotated[bool, typer.Option("--fast")] = False
    turns: Annotated[int, typer.Option(help="Turns.")] = 3


def test_a_group_is_its_options_in_its_place_and_comes_back_as_one_value() -> None:
    given: list[object] = []

    def command(*, first: int, speed: Speed, last: int = 1, settings: ExportSettings) -> None:
        given.extend([first, speed, last, settings.golden_images])

    made = typer.Typer()
    made.command()(with_settings(settings=ExportSettings)(command))
    names = [parameter.name for parameter in get_command(made).params]
    assert names[:4] == ["first", "fast", "turns", "last"] and "golden_images" in names[4:]
    assert CliRunner().invoke(made, ["7", "--turns", "5"]).exit_code == 0
    assert given == [7, Speed(turns=5), 1, ExportSettings().golden_images]


def test_an_option_that_commands_share_says_the_same_in_each() -> None:
    commands = vars(get_command(app))["commands"].values()
    said: dict[str, set[str | None]] = {name: set() for name in SHARED}
    count = dict.fromkeys(SHARED, 0)
    for command in commands:
        for parameter in command.params:
            if parameter.name in said:
                said[parameter.name].add(parameter.help)
                count[parameter.name] += 1
    assert {name: words for name, words in said.items() if len(words) != 1} == {}
    assert all(times >= 2 for times in count.values())


def test_what_is_wrong_with_an_option_is_said_in_its_own_spelling() -> None:
    with pytest.raises(
        SettingsError, match=r"^options that cannot be used:\n  --image-size: expected less than or equal to 512, found 9999$"
    ):
        PipelineOptions(image_size=9999)
