"""The lower bounds of pyproject.toml hold: a fresh environment with exactly those versions runs the chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECLARED: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
NEEDED_GIB = 8  # torch 2.5 with its libraries for GPUs
MINUTE = 60

WANTED = "EDGETL_LOWEST"  # environment variable: the download alone would be most of the time that CI has

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get(WANTED), reason=f"downloads about 3 GB: {WANTED}=1 pytest -m slow tests/test_lowest.py"),
]


def run(*command: object, cwd: Path, minutes: float) -> subprocess.CompletedProcess[str]:
    """A command without what this process was told to find: its output, for messages."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=minutes * MINUTE)


def pinned(declared: list[str]) -> list[str]:
    """`numpy>=1.26` -> `numpy==1.26`: the lowest version of each direct dependency; what those depend on is left to pip."""
    assert all(text.count(">=") == 1 and "," not in text for text in declared), "expected every dependency as name>=version"
    return [text.replace(">=", "==") for text in declared]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment with edgetl and the lowest versions of what it depends on."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        pytest.skip(f"needs Python 3.11 or 3.12, found {sys.version_info.major}.{sys.version_info.minor}: numpy 1.26 has no wheels for it")
    folder = tmp_path_factory.mktemp("oldest")
    if shutil.disk_usage(folder).free < NEEDED_GIB * 2**30:
        pytest.skip(f"needs {NEEDED_GIB} GiB of disk in {folder}")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = (programs / "python", "-m", "pip", "--disable-pip-version-check")
    reached = run(*pip, "download", "--no-deps", "--dest", folder / "one", pinned(DECLARED)[0], cwd=folder, minutes=5)
    if reached.returncode:
        pytest.skip(f"needs a package index that pip reaches: {reached.stderr.strip().splitlines()[-1]}")
    constraints = folder / "lowest.txt"
    constraints.write_text("\n".join(pinned(DECLARED)) + "\n", encoding="utf-8")
    done = run(*pip, "install", "--no-cache-dir", "--constraint", constraints, ROOT, cwd=folder, minutes=40)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return programs


def test_the_chain_runs_with_the_lowest_versions(oldest: Path, tmp_path: Path) -> None:
    edgetl, images = oldest / "edgetl", ROOT / "calibration" / "digits"
    done = run(edgetl, "pipeline", "--out", "run", cwd=tmp_path, minutes=30)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["verdict"] in ("certified", "passed")
    done = run(edgetl, "quantize", "run/bundle/model.float.onnx", "--calibration", images, "--out", "int8.onnx", cwd=tmp_path, minutes=15)
    assert done.returncode == 0, done.stderr[-4000:]
    done = run(edgetl, "predict", "int8.onnx", images, "--csv", "answers.csv", cwd=tmp_path, minutes=5)
    assert done.returncode == 0, done.stderr[-4000:]
    answers = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert len(answers) == 1 + len(list(images.glob("*.png")))
