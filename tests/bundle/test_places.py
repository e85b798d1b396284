"""A bundle's texts may name its own files, and no place on the machine that made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetl.bundle.places import refuse_local_paths
from edgetl.core.errors import InputError


@pytest.mark.parametrize("text", ["run clients/python/classify.py check", "./python/tools/classify.py"])
def test_paths_inside_a_bundle_are_no_local_paths(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    refuse_local_paths(tmp_path, ["README.md"])


@pytest.mark.parametrize("text", ["made by /opt/tools/classify.py", '"/srv/a/b.py"', "(/srv/a/b.pyc)", "C:\\tools\\a\\b.py", "/home/ann/x"])
def test_full_paths_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md"):
        refuse_local_paths(tmp_path, ["README.md"])
