"""Freed memory goes back to the system."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from edgetl.core.machine import return_freed_memory

BLOCK, BLOCKS = 64 << 10, 3200  # 200 MiB in blocks that malloc takes from its heap


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_memory_that_a_block_in_use_holds_back_is_returned() -> None:
    blocks = [bytearray(os.urandom(1) * BLOCK) for _ in range(BLOCKS)]
    last = blocks.pop()
    blocks.clear()
    before = resident_bytes()
    return_freed_memory()
    assert before - resident_bytes() > BLOCK * BLOCKS / 2 and len(last) == BLOCK
