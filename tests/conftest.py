"""What all tests share: the folder of real photos, weights and models, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by EDGETL_SHARED (default ../shared), or a skip with the reason."""
    folder = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"needs real photos and models: no {folder} (set EDGETL_SHARED)")
    return folder.resolve()
