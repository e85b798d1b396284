"""Settings: validated once, all problems together, unknown names answered with the nearest known one, frozen."""

from __future__ import annotations

import tomllib

import pytest

from edgetl.core.errors import SettingsError
from edgetl.settings import (
    DistillSettings,
    FinetuneSettings,
    PipelineSettings,
    QuantizeSettings,
    Runtime,
    SearchSettings,
    Settings,
    VerifySettings,
)

TABLES = {name: type(field.default) for name, field in PipelineSettings.model_fields.items()}


def problem(*parts: str, **values: object) -> str:
    with pytest.raises(SettingsError) as caught:
        DistillSettings(**values)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    return str(caught.value)


def test_an_unknown_key_is_answered_with_the_nearest_known_name() -> None:
    problem("distill settings that cannot be used:", 'temprature: unknown (did you mean "temperature"?); known: arch, ', temprature=2.0)


def test_all_problems_of_a_construction_come_in_one_error() -> None:
    message = problem("epochs: ", "temperature: ", "batch_sise: ", "found 0", "found -1.0", epochs=0, temperature=-1.0, batch_sise=1)
    assert len(message.splitlines()) == 4


def test_problems_of_all_tables_come_in_one_error() -> None:
    text = "[distil]\nepochs = 1\n[quantize]\ntarget = 'risc'\n[verify]\nmax_drop = 0.5\n[data]\nseed = -1"
    with pytest.raises(SettingsError) as caught:
        PipelineSettings.from_tables(tomllib.loads(text))
    message = str(caught.value)
    assert '[distil]: unknown table (did you mean "distill"?)' in message
    for part in ("target: ", "'risc'", "max_drop: ", "0.5", "seed: "):
        assert part in message


def test_a_key_outside_its_table_and_a_table_that_is_none_are_named() -> None:
    with pytest.raises(SettingsError) as caught:
        PipelineSettings.from_tables(tomllib.loads("epochs = 3\ndistill = 3"))
    assert "[epochs]: unknown table" in str(caught.value)
    assert "distill: expected a table [distill], found 3" in str(caught.value)


def test_toml_tables_become_settings_and_the_rest_keeps_its_defaults() -> None:
    made = PipelineSettings.from_tables(tomllib.loads("[distill]\ntemperature = 2\nepochs = 3\n[verify]\nmax_drop = 0.02"))
    assert made.distill == DistillSettings(temperature=2.0, epochs=3)
    assert made.verify.max_drop == 0.02
    assert made.finetune == FinetuneSettings()
    assert PipelineSettings.from_tables({}) == PipelineSettings()


@pytest.mark.parametrize("kind", TABLES.values(), ids=str)
def test_settings_are_frozen_and_changed_only_by_making_new_ones(kind: type[Settings]) -> None:
    settings = kind()
    name = next(iter(kind.model_fields))
    with pytest.raises(Exception, match="frozen"):
        setattr(settings, name, getattr(settings, name))


def test_changed_settings_are_validated_again() -> None:
    assert DistillSettings().but(epochs=3) == DistillSettings(epochs=3)
    with pytest.raises(SettingsError, match="epochs"):
        DistillSettings().but(epochs=0)


def test_a_seed_of_zero_is_a_seed() -> None:
    assert DistillSettings(seed=0).seed == 0
    assert FinetuneSettings(seed=0).but(epochs=1).seed == 0


@pytest.mark.parametrize("kind", TABLES.values(), ids=str)
def test_every_setting_tells_what_it_is(kind: type[Settings]) -> None:
    untold = [name for name, field in kind.model_fields.items() if not field.description or not field.description.endswith(".")]
    assert untold == []


def test_budgets_have_the_documented_defaults_and_range() -> None:
    assert (QuantizeSettings().max_drop, VerifySettings().max_drop, VerifySettings().max_int8_drop) == (0.01, 0.05, 0.01)
    for wrong in (-0.001, 0.201, float("nan")):
        with pytest.raises(SettingsError, match="max_drop"):
            VerifySettings(max_drop=wrong)
    assert VerifySettings(max_drop=0.2).max_drop == 0.2


@pytest.mark.parametrize(("kind", "name"), [(SearchSettings, "max_kb"), (SearchSettings, "max_ms"), (QuantizeSettings, "time_limit")])
def test_what_is_no_limit_is_refused(kind: type[Settings], name: str) -> None:
    """Infinity has no canonical form, so that the stage that it is a setting of has no key."""
    for wrong, found in ((float("inf"), "a finite number, found inf"), (0.0, "greater than 0, found 0.0")):
        with pytest.raises(SettingsError, match=f"{name}: expected {found}"):
            kind(**{name: wrong})


def test_runtime_has_at_least_one_thread() -> None:
    assert Runtime().threads >= 1
