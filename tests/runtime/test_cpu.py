"""What is said of the CPU is what the system says of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgetl.runtime.cpu import cpu_name, saturates_here

on_linux_x86 = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64", reason="needs Linux on x86-64, whose flags are known"
)
INSTRUCTIONS = {"avx512_vnni", "avx_vnni"}  # that multiply and add in 32 bits


@on_linux_x86
def test_a_cpu_saturates_where_it_has_no_vnni() -> None:
    words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    emulated = "WITHOUT_VNNI" in os.environ  # scripts/without_vnni.py hides them from onnxruntime alone
    assert saturates_here() is (emulated or not words & INSTRUCTIONS)


@on_linux_x86
def test_it_has_the_name_that_its_maker_gave_it() -> None:
    assert f": {cpu_name()}\n" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
