"""The public names: sorted, all there, and torch only with what needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgetl


def test_public_names_are_sorted_and_all_lead_somewhere() -> None:
    assert edgetl.__all__ == sorted(edgetl.__all__) == sorted(edgetl._HOMES)
    assert all(getattr(edgetl, name).__name__ == name for name in edgetl.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pipelin'"):
        _ = edgetl.pipelin  # type: ignore[attr-defined]


def test_what_works_on_onnx_files_comes_without_torch() -> None:
    code = "import sys, edgetl; edgetl.Quantize, edgetl.Verify, edgetl.predict, edgetl.open_images; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
