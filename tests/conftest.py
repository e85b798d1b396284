"""What all tests share: the folder of real photos, weights and models, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave the core to the other process

LONGEST = ("test_pipeline.py", "test_real_folder.py")  # whole runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that of two processes (`pytest -n 2`) none waits long for the other."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by EDGETL_SHARED (default ../shared), or a skip with the reason."""
    folder = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"needs real photos and models: no {folder} (set EDGETL_SHARED)")
    return folder.resolve()
