"""The workspace: runs stages, remembers what they gave, survives being killed.

    DIR/stages/<name>-<key12>.partial/   while a stage works
    DIR/stages/<name>-<key12>/           when it has ended; result.json was its last file

A stage may keep what it needs to continue in `scratch/` of its folder; that is removed when it commits.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from filelock import FileLock, Timeout

from edgetl.core.canonical import file_sha256
from edgetl.core.codec import decode, encode
from edgetl.core.errors import LockedError, WorkspaceError
from edgetl.core.files import disk_errors, read_json, sync_folder, sync_tree, write_json
from edgetl.core.progress import say
from edgetl.core.stage import Stage

R = TypeVar("R")
SCRATCH, RESULT, STAGES = "scratch", "result.json", "stages"
LIBRARIES = ("edgetl", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "scikit-learn")


class Do(Protocol):
    """Whatever turns a stage into its result: a Workspace, or a Plan that only looks."""

    def __call__(self, stage: Stage[R]) -> R:
        """The result of `stage`."""
        ...


class Workspace:
    """A folder in which stages run, each once. Use as a context manager: it holds the folder's lock.

    Raises:
        LockedError: another process works in the folder.
        WorkspaceError: the folder cannot be made or written, or a file in it was changed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = FileLock(root / ".lock")
        self._made: Path | None = None  # the topmost folder that was not there before

    def __enter__(self) -> Self:
        if self.root.exists() and not self.root.is_dir():
            raise WorkspaceError(f"expected a folder at {self.root}, found a file. Choose another --out")
        missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self._made = missing[-1] if missing else None
        try:
            (self.root / STAGES).mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"expected to be alone in {self.root}, found another edgetl at work there. Wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise WorkspaceError(
                f"expected a folder to write in, found that {self.root} cannot be used: {error.strerror}. Choose another --out"
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
        if error is not None and self._made is not None and not any((self.root / STAGES).iterdir()):
            shutil.rmtree(self._made, ignore_errors=True)  # nothing began: leave no trace

    def __call__(self, stage: Stage[R]) -> R:
        """The result of `stage`, made now or earlier."""
        folder = folder_of(self.root, stage)
        if folder.exists():
            return reuse(stage, folder)
        partial = folder.with_name(folder.name + ".partial")
        with disk_errors(self.root):
            if not (partial / RESULT).exists():
                self._run(stage, partial)
            shutil.rmtree(partial / SCRATCH, ignore_errors=True)
            os.replace(partial, folder)
            sync_folder(folder.parent)
        return load(stage, folder)

    def _run(self, stage: Stage[R], partial: Path) -> None:
        """Let the stage work, then write down what it gave; the last write is result.json."""
        partial.mkdir(exist_ok=True)
        started = time.perf_counter()
        result = stage.run(partial)
        sync_tree(partial)
        record = {
            "stage": stage.name,
            "version": stage.version,
            "key": stage.key,
            "fields": stage.fields(),
            "result": encode(result, partial),
            "files": {path.relative_to(partial).as_posix(): file_sha256(path) for path in files_of(partial)},
            "libraries": library_versions(),
            "seconds": round(time.perf_counter() - started, 3),
        }
        write_json(partial / RESULT, record)
        sync_folder(partial)


def folder_of(root: Path, stage: Stage[Any]) -> Path:
    """Where the stage's finished work lies or will lie."""
    return root / STAGES / f"{stage.name}-{stage.key[:12]}"


def files_of(folder: Path) -> list[Path]:
    """The files that belong to a stage's result, without result.json and scratch/."""
    inside = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in inside if p.relative_to(folder).parts[0] not in (SCRATCH, RESULT) and not p.name.endswith(".new"))


def reuse(stage: Stage[R], folder: Path) -> R:
    """What the stage gave earlier, after re-hashing every file of it.

    Raises:
        WorkspaceError: names the files that changed since.
    """
    record = read_json(folder / RESULT)
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        record = {"files": {}}  # not what was written here: named below
    changed = [name for name, sha in record["files"].items() if not (folder / name).is_file() or file_sha256(folder / name) != sha]
    if changed or record.get("key") != stage.key:
        names = ", ".join(changed) or RESULT
        raise WorkspaceError(
            f"expected {folder} as {stage.name} left it, found it changed: {names}. Restore it, or delete that folder to make it again"
        )
    say(f"{stage.name}: done before ({folder.name})")
    return load(stage, folder)


def load(stage: Stage[R], folder: Path) -> R:
    """The result that lies in `folder`."""
    try:
        result: R = decode(type(stage).result_type(), read_json(folder / RESULT)["result"], folder)
    except (KeyError, TypeError) as error:
        raise WorkspaceError(
            f"expected a result of {stage.name} in {folder}, found something else ({error}). Delete that folder to make it again"
        ) from error
    return result


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The versions of the libraries that can change a result; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
