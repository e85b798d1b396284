"""Folders among the photos that are left out: those of other tools, and those that edgetl writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edgetl.core.workspace import LOCK, RECORD, RESULT, STAGES

STAGE_FOLDER = re.compile(r"[a-z]+-[0-9a-f]{12}(\.partial)?")
BUNDLE_FILES = ("manifest.json", "labels.txt", "model.onnx")


def is_own(folder: Path) -> bool:
    """Whether edgetl wrote the folder: a run folder, the work beside a model, a stage's result, a bundle."""
    stages = folder / STAGES
    if stages.is_dir() and ((folder / LOCK).exists() or (folder / RECORD).is_file() or any(map(_is_stage, stages.iterdir()))):
        return True
    return _is_stage(folder) or all((folder / name).is_file() for name in BUNDLE_FILES)


def _is_stage(folder: Path) -> bool:
    return STAGE_FOLDER.fullmatch(folder.name) is not None and (folder.name.endswith(".partial") or (folder / RESULT).is_file())


def leftout_line(root: Path, tools: Iterable[Path], own: Iterable[Path]) -> str:
    """One line that names what was left out below `root`, or nothing where nothing was."""
    counts = Counter(path.name for path in tools)
    named = [f"{name}/" + (f" ({count} times)" if count > 1 else "") for name, count in sorted(counts.items())]
    ours = [f"{path.relative_to(root).as_posix()}/" for path in sorted(own)]
    said = [f"of other tools: {', '.join(named)}"] * bool(named) + [f"edgetl's own: {', '.join(ours)}"] * bool(ours)
    return f"folders left out, {'; '.join(said)}" if said else ""
