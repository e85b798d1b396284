"""The stages that would run again, and the reasons: the same composition as a run, with a StagePlan in place of the Workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgetl.core.canonical import Artifact
from edgetl.core.files import read_json
from edgetl.core.stage import Stage
from edgetl.core.workspace import RESULT, STAGES, folder_of, library_versions, load

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """One stage: whether its work is done, and why it would run if not; `network` as of the stage."""

    stage: str
    done: bool
    reasons: tuple[str, ...] = ()
    network: str = ""

    def line(self) -> str:
        """`distill: would run: settings.temperature 4.0 -> 2.0`."""
        state = "done" if self.done else "would run"
        name = f"{self.stage} {self.network}".rstrip()
        return f"{name}: {state}" + (f": {', '.join(self.reasons)}" if self.reasons else "")


class UnknownInputs(Exception):
    """A stage was never run, so the stages after it are unknown."""


class StagePlan:
    """Stands in for a Workspace and runs nothing. A stage that would run gives its latest earlier result unless it decides the rest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[StageStatus] = []
        self._stale: set[str] = set()  # digests that would be replaced

    def __call__(self, stage: Stage[R]) -> R:
        """The stage's result, or its latest earlier one.

        Raises:
            UnknownInputs: there is none, or it would decide what follows.
        """
        folder = folder_of(self.root, stage)
        old = [f"its {name} changed" for name, value in vars(stage).items() if isinstance(value, Artifact) and value.digest in self._stale]
        if (folder / RESULT).exists() and not old:
            self._find(stage, _moved_on(read_json(folder / RESULT)["libraries"]), done=True)
            return load(stage, folder)
        partial = folder.with_name(folder.name + ".partial").exists()
        before = self._latest(stage.name)
        if before is None:
            self._find(stage, ("was interrupted, will continue",) if partial else ("not run yet",))
            raise UnknownInputs
        record = read_json(before / RESULT)
        reasons = old + [r for r in _differences(stage, record) if r not in old]
        self._find(stage, tuple(reasons + ["was interrupted, will continue"] * partial))
        if stage.decides:
            raise UnknownInputs
        result = load(stage, before)
        self._stale |= {value.digest for value in vars(result).values() if isinstance(value, Artifact)}
        return result

    def _find(self, stage: Stage[Any], reasons: tuple[str, ...], *, done: bool = False) -> None:
        self.findings.append(StageStatus(stage=stage.name, done=done, reasons=reasons, network=stage.network))

    def _latest(self, name: str) -> Path | None:
        folders = [path.parent for path in (self.root / STAGES).glob(f"{name}-*/{RESULT}") if not path.parent.name.endswith(".partial")]
        return max(folders, key=lambda folder: (folder / RESULT).stat().st_mtime_ns, default=None)


def _differences(stage: Stage[Any], record: Mapping[str, Any]) -> list[str]:
    found = [f"version {record['version']} -> {stage.version}"] if record["version"] != stage.version else []
    before, now = record["fields"], stage.fields()
    for name in sorted(set(before) | set(now)):
        found += _changes(name, before.get(name), now.get(name))
    return found


def _changes(path: str, before: object, now: object) -> list[str]:
    """`settings.temperature 4.0 -> 2.0` for each leaf that differs."""
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        if "sha256" in before and "sha256" in now:
            return [f"its {path} changed"]
        return [line for key in sorted(set(before) | set(now)) for line in _changes(f"{path}.{key}", before.get(key), now.get(key))]
    return [f"{path} {before} -> {now}"]


def _moved_on(before: Mapping[str, str]) -> tuple[str, ...]:
    """Libraries that are of another version now; they do not make a stage run again."""
    now = library_versions()
    return tuple(f"made with {name} {version}, now {now.get(name)}" for name, version in before.items() if now.get(name) != version)
