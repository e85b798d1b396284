"""The documentation says what is there: the picture of the layers, the way of a photo, the pages of the website, the public names."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import edgetl

ROOT = Path(__file__).parents[1]
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SCREEN_LINES = 55  # of a README, in an editor
PAGES = [page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if page.name not in ("log.md", "CHANGELOG.md")]
SOURCES = [path for folder in ("edgetl", "tests", "scripts", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
EXAMPLES = ("toy.py", "flat_reshapes")  # files that the guides add in front of the reader


def drawing() -> ModuleType:
    spec = spec_from_file_location("draw_layers", ROOT / "scripts" / "draw_layers.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def height(file: str) -> tuple[int, ...]:
    """How high a module stands in the layers of its package, and within the engine in those of the engine."""
    parts = Path(file).with_suffix("").parts
    found = []
    for contract in (each for each in LAYERS if each["type"] == "layers"):
        depth = len(contract["containers"][0].split("."))
        if ".".join(parts[:depth]) == contract["containers"][0]:
            found.append(-contract["layers"].index(parts[depth]))
    return tuple(found)


def steps_back(files: list[str]) -> list[tuple[str, str]]:
    """Neighbours of which the second stands lower than the first."""
    return [(a, b) for a, b in pairwise(files) if height(b) < height(a)]


def test_the_picture_of_the_layers_is_drawn_from_the_contracts() -> None:
    picture = (ROOT / "docs" / "layers.svg").read_text(encoding="utf-8")
    assert picture == drawing().picture(), "run python scripts/draw_layers.py"
    for contract in (each for each in LAYERS if each["type"] == "layers"):
        assert all(f">{layer}</text>" in picture for layer in contract["layers"])


def test_the_way_of_a_photo_never_goes_back_down_the_layers() -> None:
    files = re.findall(r"^\| \d+ \| \w+ \| `([^`]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(files) >= 15 and [file for file in files if not (ROOT / file).is_file()] == []
    assert steps_back(files) == []
    assert steps_back(["edgetl/training/fit.py", "edgetl/data/decode.py"])  # so that the law can fail
    assert steps_back(["edgetl/quantization/learn/tune.py", "edgetl/quantization/observe/ranges.py"])


def test_every_page_of_the_website_is_there() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    pages = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert len(pages) >= 15 and [page for page in pages if not (ROOT / "docs" / page).is_file()] == []


def test_the_api_reference_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: edgetl[\w.]*\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(edgetl.__all__) <= shown


def test_the_readme_is_two_screens_and_its_tables_have_one_number_a_cell() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 2 * SCREEN_LINES
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.strip("|").split("|")]
    assert [cell for cell in cells if "](" not in cell and len(re.findall(r"\d+(?:\.\d+)?%", cell)) > 1] == []


def missing_names(text: str) -> list[str]:
    """The files and tests in backticks that are not in the checkout; a path may begin in any folder of it."""
    found = []
    for name in re.findall(r"`((?:[\w.-]+/)*\w+\.py(?:::\w+)?)`", text):
        path, _, test = name.partition("::")
        files = [file for file in SOURCES if f"/{file.relative_to(ROOT).as_posix()}".endswith(f"/{path}")]
        there = any(f"def {test}(" in file.read_text(encoding="utf-8") for file in files) if test else bool(files)
        if not there and not any(example in path for example in EXAMPLES):
            found.append(name)
    return found


def test_files_and_tests_that_the_pages_name_are_there() -> None:
    assert {page.name: missing for page in PAGES if (missing := missing_names(page.read_text(encoding="utf-8")))} == {}
    assert missing_names("`edgetl/nowhere.py`, `near.py`, `test_docs.py::test_nowhere`, `data/near.py`") == [
        "edgetl/nowhere.py",
        "test_docs.py::test_nowhere",
    ]


@pytest.mark.slow
def test_the_website_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
