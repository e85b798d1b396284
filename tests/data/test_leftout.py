"""Folders of other tools, and those that edgetl wrote, are never classes, never photos, wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.bundle.predict import find_pictures
from edgetl.core.preprocess import Preprocess
from edgetl.core.workspace import Workspace
from edgetl.data.calibration import open_calibration, open_labelled
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.settings import DataSettings

Photos = Callable[..., Path]
TOOLS = (
    *("@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX", "__pycache__"),
    *("node_modules", ".ipynb_checkpoints", ".git", ".thumbnails", ".Trash-1000", ".picasaoriginals", "@EADIR"),
)


def image(path: Path, like: Path) -> Path:
    """An image of its own at `path`: a tail after the file's end changes its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(like.read_bytes() + path.as_posix().encode())
    return path


def run_folder(at: Path, like: Path) -> None:
    """What a run leaves, with images in it."""
    image(at / "stages" / "verify-0123456789ab" / "thumbnails" / "0.png", like)
    (at / "stages" / "verify-0123456789ab" / "result.json").write_text("{}", encoding="utf-8")
    (at / "run.json").write_text("{}", encoding="utf-8")
    bundle(at / "bundle", like)


def bundle(at: Path, like: Path) -> None:
    image(at / "golden" / "0.png", like)
    for name in ("manifest.json", "labels.txt", "model.onnx"):
        (at / name).write_text(json.dumps({}), encoding="utf-8")


@pytest.mark.parametrize("place", [".", "cat", "cat/deep"])
def test_folders_of_other_tools_are_left_out_and_told(place: str, photos: Photos, told: Any) -> None:
    root = photos({"cat": 12, "dog": 12, "cat/deep": 2})
    for name in TOOLS:
        image(root / place / name / "cat" / "SYNOPHOTO_THUMB_XL.png", root / "cat" / "000.png")
    image(root / "dog" / "@eaDir" / "0.png", root / "cat" / "000.png")
    images = open_images(str(root), DataSettings())
    assert images.classes == ("cat", "dog") and len(images) == 26
    line = next(line for line in told.lines if line.startswith("photos: folders left out, of other tools: "))
    assert all(f"{name}/" in line for name in TOOLS) and "@eaDir/ (2 times)" in line


def test_hidden_files_and_those_of_file_managers_are_no_photos(photos: Photos) -> None:
    root = photos({"cat": 12, "dog": 12})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.png", ".0.jpg.77.new", "0.jpg.part", "1.png.partial"):
        (root / "cat" / name).write_bytes(b"no image")
    assert len(open_images(str(root), DataSettings())) == 24


WRITTEN = ("runs/photos", "cat/runs/photos", "out", "dog/out")


@pytest.mark.parametrize("place", WRITTEN)
def test_run_folders_inside_the_photos_are_left_out_and_told(place: str, photos: Photos, told: Any) -> None:
    root = photos({"cat": 12, "dog": 12})
    run_folder(root / place, root / "cat" / "000.png")
    images = open_images(str(root), DataSettings())
    assert images.classes == ("cat", "dog") and len(images) == 24
    assert f"photos: folders left out, edgetl's own: {place}/" in told.lines


def test_the_folder_of_the_run_that_is_at_work_is_left_out(photos: Photos, told: Any) -> None:
    root = photos({"cat": 12, "dog": 12})
    with Workspace(root / "runs" / "photos"), Workspace(root / "model.onnx.work"):
        assert open_images(str(root), DataSettings()).classes == ("cat", "dog")
    assert "photos: folders left out, edgetl's own: model.onnx.work/, runs/photos/" in told.lines


def test_parts_too_have_no_run_folder_beside_them(photos: Photos) -> None:
    root = photos({"train/cat": 12, "train/dog": 12, "val/cat": 3, "val/dog": 3})
    run_folder(root / "runs" / "photos", root / "val" / "cat" / "000.png")
    image(root / "@eaDir" / "0.png", root / "val" / "cat" / "000.png")
    assert len(open_images(str(root), DataSettings())) == 30


def test_neither_calibrates_nor_is_judged_nor_answered(photos: Photos) -> None:
    root = photos({"cat": 12, "dog": 12})
    run_folder(root / "runs" / "photos", root / "cat" / "000.png")
    bundle(root / "cat" / "bundle", root / "cat" / "001.png")
    image(root / "dog" / "@eaDir" / "0.png", root / "cat" / "002.png")
    tensors = open_calibration(root, Preprocess(size=8, resize=8))
    assert isinstance(tensors, ImageTensors) and len(tensors.images) == 24
    assert len(open_labelled(str(root), classes=("cat", "dog"))) == 24  # type: ignore[arg-type]
    assert len(find_pictures([root])) == 24


def test_a_folder_that_is_asked_for_by_name_is_taken(photos: Photos) -> None:
    root = photos({"cat": 2})
    bundle(root / "bundle", root / "cat" / "000.png")
    assert [path.name for path in find_pictures([root / "bundle"])] == ["0.png"]


def test_photos_in_folders_with_names_like_those_of_a_run_are_photos(photos: Photos) -> None:
    root = photos({"stages": 12, "bundle": 12, "runs/marathon": 12, "stages/rocket-stage": 3})
    images = open_images(str(root), DataSettings())
    assert images.classes == ("bundle", "runs", "stages") and len(images) == 39
