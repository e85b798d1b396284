"""The workspace: runs stages, remembers what they gave, survives being killed.

    DIR/stages/<name>-<key12>.partial/   while a stage works
    DIR/stages/<name>-<key12>/           when it has ended; result.json was its last file
    DIR/run.log                          every progress message, with reasons and measurements

A stage may keep what it needs to continue in `scratch/` of its folder; that is removed when it commits.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from filelock import FileLock, Timeout

from edgetl.core.canonical import file_sha256
from edgetl.core.codec import decode, encode
from edgetl.core.errors import LockedError, WorkspaceError
from edgetl.core.files import disk_errors, is_unfinished, read_json, sync_folder, sync_tree, write_json
from edgetl.core.progress import logged, say
from edgetl.core.stage import Stage

R = TypeVar("R")
SCRATCH, RESULT, STAGES, WEIGHTS = "scratch", "result.json", "stages", "weights"
LOCK, INDEX, SPLIT, RECORD, LOG = ".lock", "images.index", "split.json", "run.json", "run.log"
OWN_FILES = (INDEX, SPLIT, RECORD, LOG, LOCK)  # of a run folder, before any stage has begun
TRIES = 5  # a run that fails may take a new folder away just then
GRACE_S = 0.1  # for a process that is on its way out
LIBRARIES = ("edgetl", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "scikit-learn")


class Do(Protocol):
    """Whatever turns a stage into its result: a Workspace, or a Plan that only looks."""

    def __call__(self, stage: Stage[R]) -> R:
        """The result of `stage`."""
        ...


class Workspace:
    """A folder in which stages run, each once. Use as a context manager: it holds the folder's lock.

    If the block fails before a stage has begun, the files and folders that it made are removed, and nothing else.

    Raises:
        LockedError: another process works in the folder.
        WorkspaceError: the folder cannot be made or written, or a file in it was changed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = FileLock(root / LOCK)
        self._log = ExitStack()
        self._made: list[Path] = []  # folders that were not there before, the topmost first
        self._before: frozenset[str] = frozenset()  # what was in the folder before; lock and empty stages are nobody's work

    def __enter__(self) -> Self:
        if self.root.exists() and not self.root.is_dir():
            raise WorkspaceError(f"expected a folder at {self.root}, found a file. Choose another --out")
        try:
            self._take()
        except Timeout:
            raise LockedError(
                f"expected no other edgetl process in {self.root}, found one at work there. Wait until it ends, or choose another --out"
            ) from None
        except OSError as error:
            remove_empty(self._made)
            raise WorkspaceError(
                f"expected a folder to write in, found that {self.root} cannot be used: {error.strerror}. Choose another --out"
            ) from error
        remove_unfinished(self.root)
        self._log.enter_context(logged(self.root / LOG))
        return self

    def _take(self) -> None:
        """Make the folder and hold its lock; again where a run that failed took the folder away meanwhile."""
        for tries_left in reversed(range(TRIES)):
            try:
                make_folders(self.root, self._made)
                self._before = frozenset(os.listdir(self.root)) - {LOCK, STAGES}
                self._lock.acquire(timeout=GRACE_S)
                (self.root / STAGES).mkdir(exist_ok=True)
                return
            except FileNotFoundError:
                self._lock.release()
                if not tries_left:
                    raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._log.close()
        if os.name != "posix":
            self._lock.release()  # an open file cannot be removed there
        if error is not None:
            self._leave_no_trace()
        self._lock.release()

    def _leave_no_trace(self) -> None:
        """Unless a stage began: remove the files and folders that this block made, the lock among them while it is still held."""
        if any((self.root / STAGES).glob("*")):
            return
        for name in OWN_FILES:
            if name not in self._before:
                with suppress(OSError):
                    (self.root / name).unlink()
        remove_empty([*self._made, *(self.root / name for name in (WEIGHTS, STAGES) if name not in self._before)])

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
        """Run the stage, then record its result; the last file written is result.json."""
        partial.mkdir(parents=True, exist_ok=True)
        remove_unfinished(partial, below=True)
        started = time.perf_counter()
        try:
            result = stage.run(partial)
        except BaseException:
            remove_empty([partial])  # nothing was begun
            raise
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
    """The folder of a stage's finished work."""
    return root / STAGES / f"{stage.name}-{stage.key[:12]}"


def make_folders(folder: Path, made: list[Path]) -> None:
    """Make `folder` and its missing parents; each new folder is appended to `made`."""
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            with suppress(FileExistsError):  # another process was faster: it is not ours
                path.mkdir()
                made.append(path)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders that are empty, the last first."""
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def remove_unfinished(folder: Path, *, below: bool = False) -> None:
    """Remove the files that killed writers left in `folder`, and `below` it. Whoever calls this holds the folder's lock."""
    for path in folder.rglob("*") if below else folder.iterdir():
        if is_unfinished(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def files_of(folder: Path) -> list[Path]:
    """The files that belong to a stage's result, without result.json and scratch/."""
    inside = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in inside if p.relative_to(folder).parts[0] not in (SCRATCH, RESULT) and not is_unfinished(p.name))


def reuse(stage: Stage[R], folder: Path) -> R:
    """The earlier result of the stage, after a check of the sha256 of each of its files.

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
            f"expected {folder} as {stage.name} wrote it, found changed files: {names}. Restore them, or delete that folder and run again"
        )
    say(f"{stage.name}: earlier result reused ({folder.name})")
    return load(stage, folder)


def load(stage: Stage[R], folder: Path) -> R:
    """The result that lies in `folder`.

    Raises:
        WorkspaceError: result.json is not one of this stage.
    """
    try:
        result: R = decode(type(stage).result_type(), read_json(folder / RESULT)["result"], folder)
    except (KeyError, TypeError) as error:
        raise WorkspaceError(
            f"expected a result of {stage.name} in {folder}, found other content ({error}). Delete that folder and run again"
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
