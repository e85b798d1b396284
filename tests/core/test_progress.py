"""Progress: told to whoever listens, silent otherwise, closed whatever happens."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from edgetl.cli.console import Terminal
from edgetl.core.progress import Bar, detail, listening, logged, quietly, say, track


class Notebook:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def open(self, title: str, total: float, unit: str) -> Bar:
        self.heard.append(("open", title, total, unit))
        return self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.heard.append(("advance", steps, note))

    def close(self, bar: Bar) -> None:
        self.heard.append(("close", bar is self))

    def say(self, message: str) -> None:
        self.heard.append(("say", message))

    def detail(self, message: str) -> None:
        self.say(message)


def test_the_listener_hears_everything_in_order() -> None:
    notebook = Notebook()
    with listening(notebook):
        say("hello")
        with track("train", total=2, unit="epoch") as bar:
            bar.advance()
            bar.advance(0.5, note="val 0.9")
    assert notebook.heard == [
        ("say", "hello"),
        ("open", "train", 2, "epoch"),
        ("advance", 1, ""),
        ("advance", 0.5, "val 0.9"),
        ("close", True),
    ]


def test_a_bar_is_closed_when_its_work_fails() -> None:
    notebook = Notebook()
    with listening(notebook), pytest.raises(ValueError, match="broken"), track("train", total=2):
        raise ValueError("broken")
    assert notebook.heard[-1] == ("close", True)


def test_what_is_done_quietly_shows_no_bar_and_its_lines_are_details() -> None:
    class Sorted(Notebook):
        def detail(self, message: str) -> None:
            self.heard.append(("detail", message))

    with listening(notebook := Sorted()):
        with quietly():
            say("a step")
            with track("unseen", total=1) as bar:
                bar.advance()
        say("told")
    assert notebook.heard == [("detail", "a step"), ("say", "told")]


def test_nobody_listening_means_silence(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = Notebook()
    with listening(notebook):
        pass
    say("unheard")
    with track("unheard", total=1) as bar:
        bar.advance()
    assert notebook.heard == []
    assert capsys.readouterr() == ("", "")


def test_a_log_has_what_is_said_and_the_details_and_the_listener_still_hears_both(tmp_path: Path) -> None:
    notebook, file = Notebook(), tmp_path / "run.log"
    with listening(notebook), logged(file):
        assert not file.exists()  # nothing was said yet
        say("trains all layers")
        detail("since a head is right on 89.4%")
        with track("quick", total=2, unit="step") as bar:
            bar.advance()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["trains all layers", "since a head is right on 89.4%"]
    assert all(datetime.fromisoformat(line.split(" ", 1)[0]).tzinfo is not None for line in lines)
    assert notebook.heard[:2] == [("say", "trains all layers"), ("say", "since a head is right on 89.4%")]
    assert ("advance", 1, "") in notebook.heard and notebook.heard[-1] == ("close", True)


def test_a_log_names_what_took_a_while_with_its_last_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetl.core.progress.LOGGED_FROM_S", 0.0)
    with logged(tmp_path / "run.log"), track("distill", total=2, unit="epoch") as bar:
        bar.advance(2, note="val 0.9892")
    assert "distill: 2 epochs in 0.0 s, val 0.9892" in (tmp_path / "run.log").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_stops_no_work(tmp_path: Path) -> None:
    notebook = Notebook()
    with listening(notebook), logged(tmp_path / "missing" / "run.log"):
        say("goes on")
    assert notebook.heard == [("say", "goes on")]


def test_the_terminal_shows_details_only_when_asked() -> None:
    def shown(verbose: bool) -> str:
        console = Console(file=io.StringIO(), width=80)
        with listening(Terminal(console, bars=False, verbose=verbose)):
            say("short")
            detail("long")
        return console.file.getvalue()  # type: ignore[attr-defined]

    assert (shown(False), shown(True)) == ("short\n", "short\nlong\n")
