"""`status`: says what would run again and why, and runs nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgetl.core.artifacts import FileArtifact
from edgetl.core.plan import StagePlan, UnknownInputs
from edgetl.core.stage import Stage
from edgetl.core.workspace import Do, Workspace, folder_of
from edgetl.settings import DistillSettings, Runtime


@dataclass(frozen=True, kw_only=True)
class Made:
    file: FileArtifact


@dataclass(frozen=True, kw_only=True)
class Distill(Stage[Made]):
    name: ClassVar[str] = "distill"
    settings: DistillSettings = DistillSettings()
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Made:
        (out / "student").write_text(str(self.settings.temperature), encoding="utf-8")
        return Made(file=FileArtifact.of(out / "student"))


class Distill2(Distill):
    version: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class Quantize(Stage[Made]):
    name: ClassVar[str] = "quantize"
    student: FileArtifact
    bits: int = 8

    def run(self, out: Path) -> Made:
        (out / "int8").write_bytes(self.student.path.read_bytes())
        return Made(file=FileArtifact.of(out / "int8"))


def compose(do: Do, distill: Distill | None = None, bits: int = 8) -> None:
    do(Quantize(student=do(distill or Distill()).file, bits=bits))


def ran(root: Path) -> None:
    with Workspace(root) as do:
        compose(do)


def status(root: Path, distill: Distill | None = None, bits: int = 8) -> list[str]:
    plan = StagePlan(root)
    with suppress(UnknownInputs):
        compose(plan, distill, bits)
    return [finding.line() for finding in plan.findings]


def everything(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_before_the_first_run_the_first_stage_is_all_that_can_be_told(tmp_path: Path) -> None:
    assert status(tmp_path) == ["distill: would run: not run yet"]


def test_after_a_run_everything_is_done_and_looking_changes_no_file(tmp_path: Path) -> None:
    ran(tmp_path)
    before = everything(tmp_path)
    assert status(tmp_path) == ["distill: done", "quantize: done"]
    status(tmp_path, Distill(settings=DistillSettings(temperature=2.0)))
    assert everything(tmp_path) == before


def test_a_changed_setting_is_named_with_both_values_and_what_follows_from_it(tmp_path: Path) -> None:
    ran(tmp_path)
    changed = Distill(settings=DistillSettings(temperature=2.0, epochs=5))
    default = DistillSettings()
    assert status(tmp_path, changed) == [
        f"distill: would run: settings.epochs {default.epochs} -> 5, settings.temperature {default.temperature} -> 2.0",
        "quantize: would run: its student changed",
    ]
    assert status(tmp_path, bits=4) == ["distill: done", "quantize: would run: bits 8 -> 4"]


def test_runtime_is_no_reason_and_a_new_version_is(tmp_path: Path) -> None:
    ran(tmp_path)
    assert status(tmp_path, Distill(runtime=Runtime(threads=7))) == ["distill: done", "quantize: done"]
    assert status(tmp_path, Distill2()) == ["distill: would run: version 1 -> 2", "quantize: would run: its student changed"]


def test_an_interrupted_stage_is_told_as_such(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, Distill())
    folder.with_name(folder.name + ".partial").mkdir(parents=True)
    assert status(tmp_path) == ["distill: would run: was interrupted, will continue"]


def test_a_library_of_another_version_is_named_and_makes_nothing_run(tmp_path: Path) -> None:
    ran(tmp_path)
    path = folder_of(tmp_path, Distill()) / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    now = record["libraries"]["torch"]
    path.write_text(json.dumps({**record, "libraries": {**record["libraries"], "torch": "1.0"}}), encoding="utf-8")
    assert status(tmp_path) == [f"distill: done: made with torch 1.0, now {now}", "quantize: done"]


def test_a_stage_that_a_chain_has_for_two_networks_is_told_with_the_network_and_keeps_its_key(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Named(Distill):
        network: str = field(default="", metadata={"key": False})

    assert Named(network="teacher").key == Named().key
    plan = StagePlan(tmp_path)
    with suppress(UnknownInputs):
        plan(Named(network="teacher"))
    assert [finding.line() for finding in plan.findings] == ["distill teacher: would run: not run yet"]
