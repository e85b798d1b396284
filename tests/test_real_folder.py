"""A folder of 200 files as people have it, through the whole command: refused with every culprit, or to the end without them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ended
from .data.test_formats import broken, mixed

ROOT = Path(__file__).parents[1]
QUICK = (
    "finetune.epochs=1",
    "finetune.head_epochs=1",
    "distill.epochs=1",
    "verify.latency_runs=5",
    "quantize.calibration_images=16",
    "quantize.tune_images=16",
)


def process(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "edgetl", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=300)


def name_that_is_no_utf8(folder: Path) -> list[str]:
    """A folder with a photo whose name is in GBK, as old archives leave it, where the file system takes it."""
    if sys.platform != "linux":
        return []
    (folder / "old").mkdir()
    good = next((folder / "meine photos").rglob("IMG 0*.png"))
    shutil.copy(os.fsencode(good), os.fsencode(folder / "old") + b"/\xc4\xe3.png")
    return ["old"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    mixed(folder / "meine photos", turns=12)
    broken(folder / "meine photos")
    (folder / "meine photos" / "كلب" / "notes.txt").write_text("-", encoding="utf-8")
    for number in range(3):
        shutil.copy(folder / "meine photos" / "كلب" / f"IMG {number} ü.jpg", folder / "meine photos" / "كلب" / f"IMG {number} ü copy.jpg")
    assert sum(path.is_file() for path in folder.rglob("*")) == 203
    return folder


def test_refused_with_every_culprit_and_nothing_left_behind(
    edgetl: Callable[..., Ended], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = edgetl("pipeline", "meine photos", "--out", "refused")
    assert done.returncode == 2 and done.stdout == ""
    for name in ("bomb.png", "empty.jpg", "half.HEIC", "half.jpg", "text.png"):
        assert f"كلب/{name}: " in done.stderr
    assert "--skip-bad-images" in done.stderr and not (folder / "refused" / "stages").exists()


@pytest.mark.slow  # half a minute
def test_skipped_and_counted_to_the_end(folder: Path) -> None:
    settings = [word for setting in QUICK for word in ("--set", setting)]
    words = ["--teacher", "cifar_resnet8", "--teacher-weights", "none", "--student", "edge_tiny", "--image-size", "32", *settings]
    done = process(folder, "pipeline", "meine photos", "--skip-bad-images", "--json", *words)
    assert done.returncode in (0, 1), done.stderr  # so little training may well fail the verdict
    report = json.loads(done.stdout)
    intake = report["data"]["intake"]
    assert (intake["skipped_images"], intake["ignored_files"], intake["exact_copies"]) == (5, 1, 3)
    run = folder / "runs" / "meine photos"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "5 image files that could not be decoded, left out; 1 file in no image format, ignored; 3 exact copies, left out" in page
    assert (run / "bundle" / "labels.txt").read_text(encoding="utf-8") == "katze 猫 🐈\nكلب\n"
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["classes"] == ["katze 猫 🐈", "كلب"] and manifest["preprocess"]["decode"] == "reduced"

    odd = name_that_is_no_utf8(folder)
    listed = process(folder, "predict", "runs/meine photos/bundle", "meine photos", *odd, "--csv", "answers.csv")
    rows = (folder / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert listed.returncode == 2 and len(rows) == 1 + 194 + 3 + 5 + len(odd)
    assert not odd or any("old/\\udcc4\\udce3.png" in row for row in rows)
    assert sum("كلب/half" in row and "expected an image, found" in row for row in rows) == 2
