"""The errors edgetl raises on purpose.

    EdgetlError                 what was expected, what was found, what to do next
    ├── InputError              images, labels, models or weights that cannot be used
    ├── DivergedError           a training whose loss or weights are no numbers any more
    ├── SettingsError           settings out of range, unknown keys, options that contradict each other
    └── WorkspaceError          the run folder: locked, not writable, damaged
        └── LockedError         another process holds the run folder

The command line turns each of them into one message on stderr and exit code 2. Anything else is an
internal error (exit code 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class EdgetlError(Exception):
    """Base of the errors a user can mend; `str(error)` is the whole message."""


class InputError(EdgetlError):
    """Images, labels, models or weights that cannot be used."""


class DivergedError(EdgetlError):
    """A training whose loss or weights are not finite any more."""


class SettingsError(EdgetlError):
    """Settings out of range, unknown keys, options that contradict each other."""


class WorkspaceError(EdgetlError):
    """The run folder is damaged, not writable or out of space."""


class LockedError(WorkspaceError):
    """Another process holds the run folder."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the known name closest to `word`, or the empty string."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f' (did you mean "{match[0]}"?)' if match else ""


def listing(items: Sequence[object], limit: int = 20) -> str:
    """One indented line per item, the first `limit` of them, and how many more there are."""
    lines = [f"  {item}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  ... and {len(items) - limit} more")
    return "\n".join(lines)
