"""Progress messages. Library code never prints: it reports what it does, and a front end shows it.

    with track("distill", total=30, unit="epoch") as bar:
        bar.advance(note="val score 0.981")
    say("finetune: trains all layers")
    detail("finetune: a linear head on frozen features reaches 89.4% (1287 images, cross-validated)")

`say` is for one short line that every user reads. `detail` is for reasons and measurements: the command line shows them with
`--verbose`, and a log file (`logged`) holds both. No message may change a result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

LOGGED_FROM_S = 1.0  # shorter work leaves no line behind


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
        """Show one line about what was done."""
        ...

    def detail(self, message: str) -> None:
        """Show one line of reasons or measurements, where the user asked for them."""
        ...


class _Silent:
    def open(self, title: str, total: float, unit: str) -> Bar:
        return self

    def close(self, bar: Bar) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def detail(self, message: str) -> None:
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
    """Report one line about what was done."""
    _listener.get().say(message)


def detail(message: str) -> None:
    """Report one line of reasons or measurements: for the log, and for users who ask for it."""
    _listener.get().detail(message)


@contextmanager
def quietly() -> Iterator[None]:
    """Take the lines of the block for details, and show none of its bars: the work is a step of something that tells its own."""
    with listening(_Quiet(inner=_listener.get())):
        yield


def finished_line(title: str, total: float, unit: str, seconds: float, note: str) -> str:
    """`distill: 16 epochs in 87.1 s, val 0.9892`."""
    return f"{title}: {total:g} {unit}{'' if total == 1 else 's'} in {seconds:.1f} s{', ' + note if note else ''}"


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Append each message of the block, with date and time, to `file`; the listener outside of the block still gets it.

    The first message makes the file. A disk that takes no line stops no work.
    """
    with listening(_Logged(inner=_listener.get(), file=file)):
        yield


@dataclass
class _Quiet:
    inner: Listener

    def open(self, title: str, total: float, unit: str) -> Bar:
        return _SILENT

    def close(self, bar: Bar) -> None:
        pass

    def say(self, message: str) -> None:
        self.inner.detail(message)

    def detail(self, message: str) -> None:
        self.inner.detail(message)


@dataclass
class _LoggedBar:
    inner: Bar
    title: str
    total: float
    unit: str
    note: str = ""
    started: float = field(default_factory=time.perf_counter)

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.note = note or self.note
        self.inner.advance(steps, note)


@dataclass
class _Logged:
    inner: Listener
    file: Path

    def open(self, title: str, total: float, unit: str) -> Bar:
        return _LoggedBar(inner=self.inner.open(title, total, unit), title=title, total=total, unit=unit)

    def close(self, bar: Bar) -> None:
        assert isinstance(bar, _LoggedBar)
        self.inner.close(bar.inner)
        seconds = time.perf_counter() - bar.started
        if seconds >= LOGGED_FROM_S:
            self._write(finished_line(bar.title, bar.total, bar.unit, seconds, bar.note))

    def say(self, message: str) -> None:
        self.inner.say(message)
        self._write(message)

    def detail(self, message: str) -> None:
        self.inner.detail(message)
        self._write(message)

    def _write(self, message: str) -> None:
        with suppress(OSError), self.file.open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {message}\n")
