"""The suite on a CPU as most laptops have it: AVX2 without VNNI, whose int8 sums saturate."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from edgetl.runtime.cpu import saturates_here

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "without_vnni.py"

pytestmark = [
    pytest.mark.slow,  # as long as the whole suite
    pytest.mark.skipif(saturates_here(), reason="this CPU has no VNNI itself: the suite runs on one as it is"),
]


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := runpy.run_path(str(SCRIPT))["why_not"]():
        pytest.skip(reason)


def without_vnni(*arguments: str) -> subprocess.CompletedProcess[str]:
    """This Python with `arguments`, on such a CPU."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, str(SCRIPT), sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_cpu_that_a_command_gets_saturates() -> None:
    """Else the test below would show nothing."""
    found = without_vnni("-c", "from edgetl.runtime.cpu import saturates_here; print(saturates_here())")
    assert found.stdout == "True\n", found.stderr


def test_every_fast_test_passes_without_vnni() -> None:
    found = without_vnni("-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider")
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
