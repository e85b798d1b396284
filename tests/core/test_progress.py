"""Progress: told to whoever listens, silent otherwise, closed whatever happens."""

from __future__ import annotations

import pytest

from edgetl.core.progress import Bar, listening, say, track


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


def test_nobody_listening_means_silence(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = Notebook()
    with listening(notebook):
        pass
    say("unheard")
    with track("unheard", total=1) as bar:
        bar.advance()
    assert notebook.heard == []
    assert capsys.readouterr() == ("", "")
