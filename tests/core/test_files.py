"""Files are whole or absent; a folder is published by swap; a full disk is told with what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgetl.core.errors import InputError, WorkspaceError
from edgetl.core.files import disk_errors, read_json, sync_tree, write_json, write_whole


def test_a_written_file_holds_exactly_what_was_given_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "line\nß\n")
    write_whole(tmp_path / "a.txt", "second\n")
    write_whole(tmp_path / "b.bin", b"\0\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"second\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\0\r\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.bin"]


def test_when_writing_fails_the_old_content_stays_and_nothing_is_left_over(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "inside").write_text("old", encoding="utf-8")
    with pytest.raises(OSError):
        write_whole(tmp_path / "target", "a file cannot replace a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target" / "inside").read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match=rf"expected a regular file or nothing at .*{name}, found a device or pipe"):
            write_whole(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_json_comes_back_and_other_content_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 0.1, None, "ß"]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 0.1, None, "ß"]}
    (tmp_path / "half.json").write_text('{"b": [1,', encoding="utf-8")
    with pytest.raises(InputError, match=r"expected JSON in .*half\.json, found content that is not JSON"):
        read_json(tmp_path / "half.json")
    with pytest.raises(InputError, match=r"expected a file .*none\.json, found none"):
        read_json(tmp_path / "none.json")


def test_syncing_a_tree_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"x")
    sync_tree(tmp_path)
    assert (tmp_path / "a" / "f").read_bytes() == b"x"


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    message = r"is full\. Finished work is kept: free some space and run the same command again"
    with pytest.raises(WorkspaceError, match=message), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_cannot_be_written_is_told_and_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"found that .*model\.onnx is not writable"), disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "denied", str(tmp_path / "model.onnx"))
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(RuntimeError, match="a mistake in the code"), disk_errors(tmp_path):
        raise RuntimeError("a mistake in the code")


def test_what_a_killed_writer_left_goes_with_the_next_write_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".a.csv.{dead.pid}.new").write_text("half", encoding="utf-8")
    (tmp_path / f".a.csv.{os.getppid()}.new").write_text("at work", encoding="utf-8")
    (tmp_path / f".b.csv.{dead.pid}.new").write_text("of another file", encoding="utf-8")
    write_whole(tmp_path / "a.csv", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".a.csv.{os.getppid()}.new", f".b.csv.{dead.pid}.new", "a.csv"])


def test_json_holds_names_that_are_no_utf8_and_gives_them_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9") if os.name == "posix" else "caf\udce9"
    write_json(tmp_path / "a.json", {"name": name})
    assert read_json(tmp_path / "a.json") == {"name": "caf\udce9"}
    assert (tmp_path / "a.json").read_bytes().isascii()
