"""What one part of the check of a bundle found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one part of a check.

    Attributes:
        problems: one line for each problem; empty if all is well.
        skipped: why the part was not run; None if it was.
        notes: one line for each step that could not be compared here, such as a file that is not decoded.
    """

    part: str
    problems: tuple[str, ...] = ()
    skipped: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """`ok`, `failed` or `not run`."""
        return "failed" if self.problems else "not run" if self.skipped else "ok"
