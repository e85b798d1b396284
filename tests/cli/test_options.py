"""Options that commands share are one declaration: the same words everywhere, in the place where the command names their group."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from edgetl.cli.app import app
from edgetl.cli.settings_options import OptionGroup, with_settings
from edgetl.core.errors import SettingsError
from edgetl.pipeline_options import PipelineOptions, setting
from edgetl.settings import ExportSettings, PipelineSettings, Settings

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


PROBES: tuple[object, ...] = (
    True, "auto", "crop", "middle", "x86", "mips", "measured", "guessed",
    -1, 0, 1, 2, 15, 16, 100, 101, 512, 513, 2**32 - 1, 2**32, -0.1, 0.2, 0.21, 0.5, 0.49, 0.95, 1.5,
)  # fmt: skip


def taken(make: Callable[..., Settings], key: str) -> list[object]:
    """Of the probes, those that are valid values of `key`."""
    found = []
    for probe in PROBES:
        with suppress(SettingsError):
            make(**{key: probe})
            found.append(probe)
    return found


@pytest.mark.parametrize("option", PipelineOptions.model_fields)
def test_an_option_of_the_pipeline_takes_what_its_settings_take_and_tells_their_default(option: str) -> None:
    places = PipelineOptions.places(option)
    assert places and PipelineOptions.model_fields[option].default is None
    for stage, key in places:
        assert taken(PipelineOptions, option) == taken(type(getattr(PipelineSettings(), stage)), key) != list(PROBES)
    defaults = {setting(".".join(place)).default for place in places}
    assert len(defaults) == 1
    said, (usual,) = PipelineOptions.model_fields[option].description or "", defaults
    if usual is None:
        assert "default: " in said.lower()
    else:
        assert said.endswith(f" [default: {({True: 'yes', False: 'no'}[usual]) if isinstance(usual, bool) else usual}]")


def test_given_options_become_tables_of_settings_and_no_other() -> None:
    options = PipelineOptions(seed=3, max_int8_drop=0.02, flip=False)
    assert options.tables() == {
        "data": {"seed": 3},
        "finetune": {"seed": 3, "flip": False},
        "distill": {"seed": 3, "flip": False},
        "quantize": {"seed": 3, "max_drop": 0.02},
        "verify": {"max_int8_drop": 0.02},
    }
    assert PipelineOptions().tables() == {}


def test_what_is_wrong_with_an_option_is_said_in_its_own_spelling() -> None:
    with pytest.raises(
        SettingsError, match=r"^options that cannot be used:\n  --image-size: expected less than or equal to 512, found 9999$"
    ):
        PipelineOptions(image_size=9999)
