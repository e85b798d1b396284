"""What a judge leaves becomes what people find: whole, once, and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgetl.core.errors import InputError
from edgetl.report.predictions import GALLERY, PREDICTIONS, REPORT, THUMBNAILS, Gallery
from edgetl.report.publish import is_published, publish_report
from edgetl.report.thumbnails import with_thumbnails

from .conftest import photo, trial

FILES = ["predictions.csv", "report.html", "report.json"]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    simulated, folder = trial(student_errors=0.05), tmp_path / "judged"
    folder.mkdir()
    (folder / REPORT).write_text(simulated.report().to_text(), encoding="utf-8")
    (folder / PREDICTIONS).write_text(simulated.images().csv_text(), encoding="utf-8")
    gallery = with_thumbnails(simulated.images().gallery(3), 3, lambda sha: photo(1), folder / THUMBNAILS)
    (folder / GALLERY).write_text(gallery.to_text(), encoding="utf-8")
    return folder


def test_three_files_are_published_and_the_page_shows_the_photos(judged: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss,val_score\n0,2,2,0.4\n1,1,nan,0.7\n2,1,1,0.8\n", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    assert not is_published(judged, out)
    publish_report(judged, out, {"distill": tmp_path / "log.csv", "finetune": tmp_path / "none.csv"})
    assert sorted(path.name for path in out.iterdir()) == FILES and is_published(judged, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    shown = Gallery.from_text((judged / GALLERY).read_text(encoding="utf-8"))
    assert page.count('<img src="data:image/jpeg;base64,') == len(shown.mistakes) + len(shown.differences) >= 4
    assert "Training curves of distill" in page and "finetune" not in page
    for name in (REPORT, PREDICTIONS):
        assert (out / name).read_bytes() == (judged / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_what_is_missing_is_published_again(judged: Path, tmp_path: Path, name: str) -> None:
    publish_report(judged, tmp_path)
    (tmp_path / name).unlink()
    assert not is_published(judged, tmp_path)


def test_a_folder_of_something_else_publishes_nothing(judged: Path, tmp_path: Path) -> None:
    (judged / GALLERY).write_text("[]", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="expected the example images of a report"):
        publish_report(judged, out)
    assert list(out.iterdir()) == []


def test_publishing_needs_no_torch(judged: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgetl.report.publish import publish_report\n"
        f"publish_report(Path({str(judged)!r}), Path({str(tmp_path)!r}))\n"
        "print([m for m in ('torch', 'torchvision', 'onnxruntime') if m in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stderr
