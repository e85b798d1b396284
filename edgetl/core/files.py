"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from edgetl.core.errors import EdgetlError, InputError, WorkspaceError

MEBIBYTE = 1 << 20
ROOM_BYTES = 1 << 16  # a disk with less is called full
UNFINISHED = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.new", re.DOTALL)  # of `temporary_path`


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` at `path`, all of it or nothing; the old file stays until the new one is complete.

    What UTF-8 cannot hold (file names may be any bytes) is escaped with backslashes, which JSON reads as it was.
    """
    with open_whole(path) as stream:
        stream.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content replaces the file at `path` at the end of the block; if the block fails, the old file stays.

    Raises:
        InputError: a device or pipe is there, which a new file would replace.
    """
    refuse_special(path)
    clear_killed(path)
    beside = temporary_path(path)
    try:
        with beside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def refuse_special(path: Path) -> None:
    """Raise InputError if a device, pipe or socket is at `path`: a file that is renamed to it would take its place."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"expected a regular file or nothing at {path}, found a device or pipe. Choose another file to write")


def temporary_path(path: Path) -> Path:
    """The temporary file that this process writes before it is renamed to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def is_unfinished(name: str) -> bool:
    """Whether a file of that name is an unfinished file of `open_whole`."""
    return UNFINISHED.fullmatch(name) is not None


def clear_killed(path: Path) -> None:
    """Remove the unfinished files that killed writers of `path` left."""
    for name in os.listdir(path.parent) if os.name == "posix" else ():
        found = UNFINISHED.fullmatch(name)
        if found and found["name"] == path.name and not _is_alive(int(found["pid"])):
            (path.parent / name).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Whether a process of that number runs here (POSIX: on Windows the question would end it)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """As `open_whole`, for UTF-8 text; what UTF-8 cannot hold (file names may be any bytes) is escaped with backslashes."""
    with open_whole(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        try:
            yield text
        finally:
            text.detach()  # flushes; the stream below stays open


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value at `path`.

    Raises:
        InputError: there is no such file, or it holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"expected a file {path}, found none") from None
    except (OSError, ValueError) as error:
        raise InputError(f"expected JSON in {path}, found content that is not JSON: {error}") from error


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Remove `folder` after the block, however it ends."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Write every file below `folder` to the disk (fsync) before going on."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Write the names in `folder` to the disk (fsync of the folder); Windows cannot, and nothing is done there."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say what the user can do about a full disk or a folder that cannot be written.

    Raises:
        WorkspaceError: in place of the OSError.
    """
    try:
        yield
    except EdgetlError:
        raise
    except Exception as error:
        if _is_full(error, folder):
            raise WorkspaceError(
                f"the disk of {folder} is full. Finished work is kept: free some space and run the same command again"
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
            raise WorkspaceError(
                f"expected to be able to write in {folder}, found that {error.filename} is not writable. "
                "Change its permissions, or choose another --out"
            ) from error
        raise


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for want of room; numpy, torch and safetensors report it in ways of their own, without an errno."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return folder.exists() and shutil.disk_usage(folder).free < ROOM_BYTES
