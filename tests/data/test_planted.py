"""Planted leaks in data whose parts the user brought: a training photo that was saved again in another part is named."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgetl.data.earlier import Earlier, write_split
from edgetl.data.sources import GROUPS_SHOWN, open_images
from edgetl.settings import DataSettings

QUALITIES = (85, 60, 40)


def saved_again(path: Path, to: Path, turn: int) -> None:
    """At another quality; every second photo at half its size too."""
    image = Image.open(path).convert("RGB")
    to.parent.mkdir(parents=True, exist_ok=True)
    (image.resize((image.width // 2, image.height // 2)) if turn % 2 else image).save(to, quality=QUALITIES[turn % 3])


def parts(shared: Path, root: Path, other: str) -> set[str]:
    """40 photos in train/, 24 in `other`/, and 8 of train/ saved again there; where those lie."""
    planted = set()
    for label in ("ants", "bees"):
        for part, source, count in (("train", "train", 20), (other, "val", 12)):
            (root / part / label).mkdir(parents=True)
            for path in sorted((shared / "data" / "hymenoptera" / source / label).glob("*.jpg"))[:count]:
                shutil.copyfile(path, root / part / label / path.name)
        for turn, path in enumerate(sorted((root / "train" / label).iterdir())[:4]):
            saved_again(path, root / other / label / f"again-{turn}.jpg", turn)
            planted.add(f"{other}/{label}/again-{turn}.jpg")
    return planted


def as_csv(root: Path) -> Path:
    """The same images as a list with a column that says the part."""
    files = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    with (root / "list.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "part"), *((path.as_posix(), path.parts[1], path.parts[0]) for path in files)])
    return root / "list.csv"


@pytest.mark.parametrize(("other", "listed"), [("test", False), ("val", False), ("test", True), ("val", True)])
def test_a_training_photo_saved_again_among_the_judges_is_named(other: str, listed: bool, shared: Path, tmp_path: Path, told: Any) -> None:
    """Folders and lists; and `val/` without `test/`, which is the test part."""
    planted = parts(shared, tmp_path / "d", other)
    images = open_images(str(as_csv(tmp_path / "d") if listed else tmp_path / "d"), DataSettings())
    places = {ref.sha256: ref.where for ref in images.refs}
    assert {places[sha] for sha in images.alike_beyond("test")} == planted and len(planted) > GROUPS_SHOWN
    assert images.intake.near_duplicates_across_parts == 16
    assert all(f"{place} (test)" in told.text for place in planted)  # the first on the screen, all in the log
    assert "kept in one part" not in told.text


def test_a_training_photo_saved_again_in_the_users_val_is_named_too(shared: Path, tmp_path: Path, told: Any) -> None:
    """It would choose the epoch, and what ships."""
    planted = parts(shared, tmp_path / "d", "val")
    for label in ("ants", "bees"):
        (tmp_path / "d" / "test" / label).mkdir(parents=True)
        for path in sorted((shared / "data" / "hymenoptera" / "val" / label).glob("*.jpg"))[12:24]:
            shutil.copyfile(path, tmp_path / "d" / "test" / label / path.name)
    images = open_images(str(tmp_path / "d"), DataSettings())
    places = {ref.sha256: ref.where for ref in images.refs}
    assert {places[sha] for sha in images.alike_beyond("val")} == planted and not images.alike_beyond("test")
    assert all(f"{place} (val)" in told.text for place in planted)


def test_a_training_photo_saved_again_that_is_added_to_a_run_comes_to_train(shared: Path, tmp_path: Path) -> None:
    data, settings = tmp_path / "d", DataSettings()
    for label in ("ants", "bees"):
        (data / label).mkdir(parents=True)
        for path in sorted((shared / "data" / "hymenoptera" / "train" / label).glob("*.jpg"))[:20]:
            shutil.copyfile(path, data / label / path.name)
    before = open_images(str(data), settings)
    write_split(tmp_path / "split.json", before, settings)
    train = before.only("train").refs[:8]
    for turn, ref in enumerate(train):
        saved_again(data / ref.where, (data / ref.where).with_name(f"again-{turn}.jpg"), turn)
    after = open_images(str(data), settings, earlier=Earlier.read(tmp_path / "split.json", settings).parts)
    assert {ref.part for ref in after.refs if "again-" in ref.where} == {"train"} and len(after) == len(before) + 8
