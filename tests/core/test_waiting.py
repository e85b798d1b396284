"""Threads that wait do not take CPUs from other work, unless the user wants them to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgetl.core.waiting import SPINS, wait_briefly


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_set_stays(given: dict[str, str], then: dict[str, str]) -> None:
    environment = dict(given)
    wait_briefly(environment)
    assert environment == then


def test_it_is_set_before_anything_loads_openmp() -> None:
    told = "import edgetl, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules, 'sklearn' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=clean, timeout=60)
    assert found.stdout.split() == [SPINS, "False", "False"]
