"""The index of hashes: spares reading, never hides a change, is never trusted when damaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.data.hashes import HashIndex, check_files
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings

Photos = Callable[..., Path]
SETTINGS = DataSettings()
READ = "read images"


@pytest.fixture
def root(photos: Photos) -> Path:
    return photos({"ants": 12, "bees": 12})


def opened(root: Path, index: Path | None, **kwargs: bool) -> str:
    return open_images(str(root), SETTINGS, index=index, **kwargs).digest


def flip_a_byte(path: Path, *, later: bool) -> None:
    """Change a pixel without a change of size; `later` moves the time of change."""
    data, before = bytearray(path.read_bytes()), path.stat()
    data[-20] ^= 1  # inside IDAT or its checksum: the file no longer decodes, or decodes to something else
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (1 if later else 0)))


def test_hashes_are_those_of_hashlib(root: Path) -> None:
    found = check_files(root, ["ants/000.png", "bees/001.png"])
    assert {where: checked.sha256 for where, checked in found.items()} == {
        where: hashlib.sha256((root / where).read_bytes()).hexdigest() for where in ("ants/000.png", "bees/001.png")
    }


def test_a_rerun_reads_nothing_and_gives_the_same(root: Path, tmp_path: Path, told: Any) -> None:
    index = tmp_path / "run" / "index"
    first = opened(root, index)
    assert told.advanced.pop(READ) == 24
    assert opened(root, index) == first == opened(root, None)
    assert told.advanced.pop(READ) == 24  # all of them by the run without an index


def test_a_changed_byte_is_found_once_the_time_of_change_moved(root: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    opened(root, index)
    flip_a_byte(root / "ants/003.png", later=True)
    with pytest.raises(InputError, match=r"ants/003\.png: "):
        opened(root, index)


def test_rehash_distrusts_the_index(root: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    first = opened(root, index)
    flip_a_byte(root / "ants/003.png", later=False)
    assert opened(root, index) == first
    with pytest.raises(InputError, match=r"ants/003\.png: "):
        opened(root, index, rehash=True)
    with pytest.raises(InputError, match=r"ants/003\.png: "):
        opened(root, index)


def test_a_replaced_file_of_the_same_size_and_time_is_found_by_its_inode(root: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    opened(root, index)
    path, before = root / "ants/003.png", (root / "ants/003.png").stat()
    new = path.with_name("new")
    new.write_bytes(b"x" * before.st_size)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, path)
    with pytest.raises(InputError, match=r"ants/003\.png: no image"):
        opened(root, index)


def test_what_does_not_decode_is_never_remembered_and_mended_files_pass(root: Path, tmp_path: Path) -> None:
    index, path = tmp_path / "index", root / "ants/003.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    for _ in range(2):
        with pytest.raises(InputError, match=r"ants/003\.png: "):
            opened(root, index)
    path.write_bytes(whole)
    assert opened(root, index) == opened(root, None)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x00\xff\n\n", b'{"schema": 1}\n[1]\n'])
def test_a_damaged_index_is_ignored_and_written_anew(root: Path, tmp_path: Path, told: Any, damage: bytes) -> None:
    index = tmp_path / "index"
    first = opened(root, index)
    good = index.read_bytes()
    index.write_bytes(damage)
    assert opened(root, index) == first and index.read_bytes() == good


def test_one_wrong_digit_in_the_index_is_damage(root: Path, tmp_path: Path, told: Any) -> None:
    index = tmp_path / "index"
    opened(root, index)
    sha = hashlib.sha256((root / "ants/000.png").read_bytes()).hexdigest().encode()
    index.write_bytes(index.read_bytes().replace(sha, sha[::-1]))
    assert HashIndex.load(index).entries == {}


def test_the_index_keeps_one_entry_for_a_path(root: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    opened(root, index)
    os.utime(root / "ants/000.png", ns=(1, 1))
    opened(root, index)
    assert len(HashIndex.load(index).entries) == 24
