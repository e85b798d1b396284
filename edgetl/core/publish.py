"""Putting a whole folder at its place, so that a reader never sees half of one and nothing of the user's is lost.

BUNDLE/              what readers see
.BUNDLE.edgetl-new/  while it is copied
.BUNDLE.edgetl-old/  the one before, between two renames
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgetl.core.errors import InputError, WorkspaceError, listing
from edgetl.core.files import read_json, sync_folder, sync_tree
from edgetl.core.foreign import visible

FILES = "files"  # the key of the marker's JSON that names what was published


def check_place(target: Path, marker: str) -> None:
    """Pass if `target` is free, or holds nothing but what was published there before, as its file `marker` says.

    What a publication left that was killed is put right: the folder before is back in its place, or is removed.

    Raises:
        WorkspaceError: something of the user's lies there.
    """
    mend_place(target)
    if (target.exists() and not target.is_dir()) or (target.is_dir() and any(target.iterdir()) and not (target / marker).is_file()):
        raise WorkspaceError(
            f"expected nothing or an earlier result (a folder with {marker}) at {target}, found other files there. Choose another --out"
        )
    if target.is_dir() and (others := strangers(target, marker)):
        raise WorkspaceError(
            f"expected only files of an earlier result in {target}, found files that edgetl did not write:\n{listing(others)}\n"
            "Move them elsewhere, or choose another --out"
        )


def strangers(folder: Path, marker: str) -> list[str]:
    """The files in a published folder that its `marker` does not name; those of other tools do not count."""
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [path.as_posix() for path in found if all(map(visible, path.parts)) and path.as_posix() != marker]
    if not shown:
        return []
    try:
        record = read_json(folder / marker)
    except InputError:
        return shown
    named = record.get(FILES) if isinstance(record, dict) else None
    return [name for name in shown if name not in named] if isinstance(named, dict) else shown


def mend_place(target: Path) -> None:
    """Remove what a killed publication left beside `target`; if it was killed between its two renames, undo the first."""
    fresh, old = _beside(target)
    shutil.rmtree(fresh, ignore_errors=True)
    if old.is_dir() and not target.exists():
        os.replace(old, target)
    shutil.rmtree(old, ignore_errors=True)


def publish_folder(source: Path, target: Path, marker: str) -> None:
    """Put a copy of `source` at `target`: the old one is renamed aside, the new one renamed in, then the old removed.

    Raises:
        WorkspaceError: what lies at `target` was not published here, as its file `marker` would say.
    """
    check_place(target, marker)
    fresh, old = _beside(target)
    shutil.copytree(source, fresh)
    sync_tree(fresh)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> tuple[Path, Path]:
    """The hidden folders for the new copy and for the old one, during the swap."""
    return target.with_name(f".{target.name}.edgetl-new"), target.with_name(f".{target.name}.edgetl-old")
