"""`scripts/check --gates` stops a change: a planted fault fails its own gate and no other, and a sound tree passes."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GATES = ("format", "lint", "types", "layers")


def check(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "check"), *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=600)


def failed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The gates that the summary calls failed; the summary names all of them."""
    summary = dict(re.findall(r"^(\w+) +(ok|FAILED)\b.* s$", done.stdout, re.MULTILINE))
    assert tuple(summary) == GATES, done.stdout + done.stderr
    return [name for name, outcome in summary.items() if outcome == "FAILED"]


def docstring(source: str) -> str:
    """The docstring of a module as it is written."""
    return ast.get_source_segment(source, ast.parse(source).body[0]) or ""


@pytest.fixture(scope="module")
def empty_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's rules and modules, the modules without their code: each keeps its docstring alone, so that mypy takes seconds."""
    for tool in ("ruff", "mypy", "importlinter"):
        pytest.importorskip(tool)
    root = tmp_path_factory.mktemp("house")
    for path in (ROOT / "cli.py", *(path for folder in ("edgetl", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py"))):
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(docstring(path.read_text(encoding="utf-8")) + "\n", encoding="utf-8")
    for script in ("check", "release"):
        shutil.copy(ROOT / "scripts" / script, root / "scripts")
    rules, alert = (ROOT / "pyproject.toml").read_text(encoding="utf-8"), 'unmatched_ignore_imports_alerting = "error"'
    assert rules.count(alert) == 1
    (root / "pyproject.toml").write_text(rules.replace(alert, alert.replace("error", "none")), encoding="utf-8")  # here nothing is imported
    return root


def test_a_sound_tree_passes(empty_house: Path) -> None:
    done = check(empty_house, "--gates")
    assert (done.returncode, failed(done)) == (0, []), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "fault", "gate"),
    [
        ("core/errors.py", "\nX  = 1\n", "format"),
        ("core/errors.py", "\nimport json\n", "lint"),
        ("core/errors.py", '\nX: int = "one"\n', "types"),
        ("core/errors.py", "\nfrom edgetl import workflow\n\nX = workflow.__name__\n", "layers"),
    ],
)
def test_a_planted_fault_fails_its_gate(empty_house: Path, module: str, fault: str, gate: str) -> None:
    path = empty_house / "edgetl" / module
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound + fault, encoding="utf-8")
    try:
        done = check(empty_house, "--gates")
    finally:
        path.write_text(sound, encoding="utf-8")
    assert (done.returncode, failed(done)) == (1, [gate]), done.stdout + done.stderr


def test_an_option_that_is_not_known_runs_nothing() -> None:
    done = check(ROOT, "--gate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected no option but --fix and --gates, found: --gate" in done.stderr
