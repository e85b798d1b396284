"""From the files of the stage `verify` to the published report."""

from __future__ import annotations

import base64
import csv
import math
from collections.abc import Mapping
from pathlib import Path

from edgetl.core.canonical import file_sha256
from edgetl.core.files import disk_errors, read_json, write_whole
from edgetl.report.html import render
from edgetl.report.predictions import GALLERY, PREDICTIONS, REPORT, THUMBNAILS, Gallery

PAGE = "report.html"


def publish_report(judged: Path, out: Path, logs: Mapping[str, Path] | None = None) -> None:
    """`predictions.csv`, `report.html` and, last, `report.json` in `out`.

    Args:
        judged: the folder that a judge has left: report.json, predictions.csv, gallery.json and thumbnails/.
        out: where they go.
        logs: stage -> the CSV of its training, where there was one.

    Raises:
        InputError: `judged` holds something else.
        WorkspaceError: `out` is full or cannot be written.
    """
    gallery = Gallery.from_text((judged / GALLERY).read_text(encoding="utf-8"))
    page = render(read_json(judged / REPORT), read_curves(logs or {}), gallery, pictures(judged / THUMBNAILS))
    with disk_errors(out):
        write_whole(out / PREDICTIONS, (judged / PREDICTIONS).read_bytes())
        write_whole(out / PAGE, page)
        write_whole(out / REPORT, (judged / REPORT).read_bytes())


def is_published(judged: Path, out: Path) -> bool:
    """Whether `out` holds what `publish_report` would put there; report.json was the last to be written."""
    if not all((out / name).is_file() for name in (REPORT, PAGE, PREDICTIONS)):
        return False
    return all(file_sha256(out / name) == file_sha256(judged / name) for name in (REPORT, PREDICTIONS))


def pictures(folder: Path) -> dict[str, str]:
    """Every JPEG in `folder` as a data URI, by its name."""
    return {path.name: f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in sorted(folder.glob("*.jpg"))}


def read_curves(logs: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    """The training logs: stage -> one row of numbers for each epoch."""
    curves = {}
    for stage, path in logs.items():
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
            curves[stage] = [row for row in rows if all(math.isfinite(value) for value in row.values())]
    return curves
