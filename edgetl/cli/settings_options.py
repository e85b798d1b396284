"""Options, and tables of TOML, made from settings."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from edgetl.core.errors import InputError, SettingsError
from edgetl.settings import Settings, default_words


class OptionGroup:
    """Base of frozen dataclasses whose fields are options that several commands share, each annotated as one."""


def with_settings(**kinds: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the parameter `name` of kind K becomes one option for each field of K, after the other parameters.

    A field whose name is taken already gets that of its parameter in front (`--split-seed`). What the user left
    out keeps the default of the settings. A parameter whose type is an `OptionGroup` becomes the options of that
    group, in its place.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name not in kinds]
        groups = {p.name: p.annotation for p in own if inspect.isclass(p.annotation) and issubclass(p.annotation, OptionGroup)}
        members = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
        kept = [option for p in own for option in (members[p.name].values() if p.name in groups else (p,))]
        taken = {p.name for p in kept}
        made: dict[str, dict[str, inspect.Parameter]] = {}
        for name, kind in kinds.items():
            made[name] = {
                field: _parameter(f"{name}_{field}" if field in taken else field, info) for field, info in kind.model_fields.items()
            }
            taken |= {p.name for p in made[name].values()}

        def run(**values: Any) -> None:
            given = {name: {field: values.pop(p.name) for field, p in options.items()} for name, options in made.items()}
            built = {name: kinds[name](**{f: v for f, v in options.items() if v is not None}) for name, options in given.items()}
            grouped = {name: group(**{field: values.pop(field) for field in members[name]}) for name, group in groups.items()}
            command(**values, **built, **grouped)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept] + [
            p for options in made.values() for p in options.values()
        ]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    annotation: Any = Annotated[_plain(field), _option(name, field)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(name: str, field: FieldInfo) -> Any:
    flag = f"--{name.replace('_', '-')}"
    choices = [str(leaf) for leaf in _leaves(field.annotation) if not isinstance(leaf, type)]
    shown = "|".join(choices) if choices else None
    return typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if _plain(field) == (bool | None) else flag,
        help=escape(f"{field.description}{default_words(field)}"),
        metavar=shown,
        show_default=False,
    )


def _plain(field: FieldInfo) -> Any:
    """The type the shell can give: the settings check the rest."""
    kinds = _leaves(field.annotation)
    for plain in (bool, int, float):
        if plain in map(_type, kinds):
            return plain | None
    return str | None


def _type(leaf: Any) -> Any:
    """Of a number that is written out, its type."""
    return leaf if isinstance(leaf, type) else type(leaf)


def _leaves(annotation: Any) -> list[Any]:
    """`int | None` -> [int, NoneType]; `Literal["a", 1]` -> ["a", 1]; `Annotated[float, ...]` -> [float, ...]."""
    parts = [annotation.__origin__] if hasattr(annotation, "__metadata__") else list(get_args(annotation))
    return [leaf for part in parts for leaf in _leaves(part)] if parts else [annotation]


def parse_set(assignments: list[str]) -> dict[str, dict[str, object]]:
    """`["distill.epochs=5"]` -> `{"distill": {"epochs": 5}}`, values read as TOML.

    Raises:
        SettingsError: an assignment of another form.
    """
    tables: dict[str, dict[str, object]] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        table, dot, key = path.strip().partition(".")
        if not (equals and dot and table and key):
            raise SettingsError(f"expected --set STAGE.KEY=VALUE, for example --set distill.epochs=5, found {text!r}")
        try:
            tables.setdefault(table, {})[key] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            tables.setdefault(table, {})[key] = value
    return tables


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of settings, a later layer's keys over an earlier one's."""
    tables: dict[str, Any] = {}
    for layer in layers:
        for name, table in layer.items():
            tables[name] = {**tables.get(name, {}), **table} if isinstance(table, Mapping) else table
    return tables


def read_toml(config: Path | None) -> dict[str, Any]:
    """The tables of a TOML file; none without a file.

    Raises:
        InputError: the file cannot be read, or is not TOML.
    """
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a TOML file at {config}, found none that can be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"expected TOML in {config}, found text that is not valid TOML: {error}") from error
