"""What all tests share: the folder of real photos and models, embedded weights, a listener, the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgetl.bundle.predict import Prediction
    from edgetl.models.weights import Weights

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave the core to the other process

LONGEST = ("test_pipeline.py", "test_real_folder.py")  # whole runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that of two processes (`pytest -n 2`) none waits long for the other."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by EDGETL_SHARED (default ../shared), or a skip with the reason."""
    folder = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"needs real photos and models: no {folder} (set EDGETL_SHARED)")
    return folder.resolve()


@pytest.fixture(scope="session")
def weights() -> Weights:
    """The embedded weights of `cifar_resnet16`."""
    from edgetl.models.weights import resolve_weights

    found, _ = resolve_weights("cifar_resnet16", "auto", Path("nothing is downloaded"))
    assert found is not None and found.source.startswith("embedded:")
    return found


def write_csv(path: Path, predictions: Iterable[Prediction], top_k: int = 1) -> None:
    """The CSV of `edgetl predict --csv`."""
    from edgetl.bundle.answers import to_csv
    from edgetl.cli.predict import csv_stream

    with csv_stream(path, sys.stdout) as stream:
        assert stream is not None
        list(to_csv(predictions, stream, top_k))


class Told:
    """A listener that remembers: what is said, the titles of the bars, and how far each of them came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.titles: list[str] = []
        self.advanced: dict[str, float] = {}

    def open(self, title: str, total: float, unit: str) -> Line:
        self.titles.append(title)
        return Line(self, title)

    def close(self, bar: object) -> None:
        pass

    def moved(self, title: str, steps: float, note: str) -> None:
        self.advanced[title] = self.advanced.get(title, 0) + steps

    def say(self, message: str) -> None:
        self.lines.append(message)

    def detail(self, message: str) -> None:
        self.say(message)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Line:
    """A bar: its steps are told to the listener that opened it."""

    told: Told
    title: str

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.told.moved(self.title, steps, note)


class Stop(Exception):
    """Raised in the middle of work, as a kill would come."""


@pytest.fixture
def told() -> Iterator[Told]:
    """What is said while the test runs."""
    from edgetl.core.progress import listening  # not before the environment is set

    with listening(listener := Told()):
        yield listener


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def edgetl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command line in this process: a process of its own needs seconds for imports, and is for tests of processes."""
    from edgetl.cli.app import main

    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["edgetl", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return Ended(stop.value.code, *capsys.readouterr())

    return run
