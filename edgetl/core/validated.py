"""Settings that are validated once, at construction; all problems are reported together."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from edgetl.core.errors import SettingsError, nearest


class Settings(BaseModel):
    """A base that reports all problems of a construction in one SettingsError."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **values: Any) -> None:
        """Validate `values`.

        Raises:
            SettingsError: names every key that is unknown or out of range.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(type(self), error)) from None

    def but(self, **changes: Any) -> Self:
        """The same settings with some changed, validated again."""
        return type(self)(**{**dict(self), **changes})


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    options = kind.__name__.endswith("Options")
    lines = [f"{'options' if options else f'{_table(kind)} settings'} that cannot be used:"]
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        where = f"--{key.replace('_', '-')}" if options else key
        if problem["type"] == "extra_forbidden":
            known = list(kind.model_fields)
            lines.append(f"  {where}: unknown{nearest(key, known)}; known: {', '.join(known)}")
        else:
            expected = problem["msg"].replace("Input should be", "expected", 1)
            lines.append(f"  {where}: {expected[0].lower()}{expected[1:]}, found {problem.get('input')!r}")
    return "\n".join(lines)


def _table(kind: type[BaseModel]) -> str:
    return kind.__name__.removesuffix("Settings").lower()
