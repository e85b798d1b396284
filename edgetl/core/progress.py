"""Progress, told to whoever listens. Library code never prints: it says what it does, a front end draws it.

    with track("distill", total=30, unit="epoch") as bar:
        bar.advance(note="val 0.981")

Nothing that is told here may change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Bar(Protocol):
    """One line of progress."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a few words about the latest."""
        ...


class Listener(Protocol):
    """A front end: opens and closes bars, shows messages."""

    def open(self, title: str, total: float, unit: str) -> Bar:
        """A new bar."""
        ...

    def close(self, bar: Bar) -> None:
        """The bar's work has ended."""
        ...

    def say(self, message: str) -> None:
        """One line about what happens and why."""
        ...


class _Silent:
    def open(self, title: str, total: float, unit: str) -> Bar:
        return self

    def close(self, bar: Bar) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def advance(self, steps: float = 1, note: str = "") -> None:
        pass


_SILENT = _Silent()
_listener: ContextVar[Listener] = ContextVar("edgetl_progress", default=_SILENT)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send what happens inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def track(title: str, total: float, unit: str = "step") -> Iterator[Bar]:
    """A bar for work of `total` units."""
    listener = _listener.get()
    bar = listener.open(title, total, unit)
    try:
        yield bar
    finally:
        listener.close(bar)


def say(message: str) -> None:
    """Tell the listener one line about what happens and why."""
    _listener.get().say(message)
