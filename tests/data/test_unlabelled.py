"""Photos without labels: any folder, what judges left out even if saved anew, labels told apart from none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.data.sources import open_images
from edgetl.data.unlabelled import NOBODY, open_unlabelled, together
from edgetl.settings import DataSettings

from .test_near_pictures import plates


def photo(seed: int) -> Image.Image:
    """A picture unlike others: blobs of color."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)


def folders(root: Path) -> Path:
    for index in range(24):
        place = root / ("train" if index < 16 else "val") / ("even" if index % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        photo(index).save(place / f"{index}.jpg", quality=95)
    return root


def test_what_judges_is_left_out_even_if_it_was_saved_anew(tmp_path: Path, told: Any) -> None:
    data = open_images(str(folders(tmp_path / "photos")), DataSettings())
    more = tmp_path / "more" / "deeper"
    more.mkdir(parents=True)
    for seed in (100, 101, 102):
        photo(seed).save(more / f"{seed}.jpg")
    photo(20).save(more / "a test photo at another quality.jpg", quality=60)
    photo(16).resize((80, 80)).save(more / "a test photo, smaller.png")
    (more / "the same file.jpg").write_bytes((tmp_path / "photos" / "train" / "even" / "0.jpg").read_bytes())
    found = open_unlabelled(tmp_path / "more", data)
    assert sorted(Path(ref.where).name for ref in found.refs) == ["100.jpg", "101.jpg", "102.jpg"]
    out = "left out: 1 that photos holds, 2 that look like one of its val or test images"
    assert f"{tmp_path / 'more'}: 3 photos without labels, for the student; {out}" in told.lines


def test_among_pictures_of_one_kind_mirrored_copies_are_not_found_and_it_is_said(tmp_path: Path, told: Any) -> None:
    images = plates(60, 3)
    for number, image in enumerate(images):
        (folder := tmp_path / "plates" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    data = open_images(str(tmp_path / "plates"), DataSettings())
    judging = data.only("val", "test").refs[:6]
    (more := tmp_path / "more").mkdir()
    for ref in judging:
        image = images[int(Path(ref.where).stem)]
        image.save(more / f"again-{Path(ref.where).stem}.jpg", quality=60)
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(more / f"mirrored-{Path(ref.where).stem}.png")
    found = open_unlabelled(more, data)
    assert {Path(ref.where).name.partition("-")[0] for ref in found.refs} == {"mirrored"}
    line = next(line for line in told.lines if line.startswith(f"{more}, compared with val and test: "))
    assert "alike by nature" in line and "mirrored or turned copies are not looked for" in line


def test_photos_of_another_set_are_taken_from_all_of_its_parts(tmp_path: Path, told: Any) -> None:
    """No part of it selects or judges here."""
    data, more = open_images(None, DataSettings()), folders(tmp_path / "more")
    assert len(open_unlabelled(more, data)) == 24
    assert not any("calibration" in line for line in told.lines)


def test_both_are_read_each_from_its_place(tmp_path: Path) -> None:
    data = open_images(str(folders(tmp_path / "photos")), DataSettings()).only("train")
    (tmp_path / "more").mkdir()
    photo(100).save(tmp_path / "more" / "x.png")
    both = together(data, open_unlabelled(tmp_path / "more", data))
    assert len(both) == len(data) + 1 and both.labels.tolist() == [*data.labels.tolist(), NOBODY]
    assert [both.read(i) for i in range(len(data))] == [data.read(i) for i in range(len(data))]
    assert both.read(len(data)) == (tmp_path / "more" / "x.png").read_bytes()
    assert together(data, None) is data


@pytest.mark.parametrize(("make", "found"), [(lambda path: None, "nothing"), (lambda path: path.write_text("x"), "a file")])
def test_a_folder_that_is_none_is_named(tmp_path: Path, make: Callable[[Path], object], found: str) -> None:
    data = open_images(None, DataSettings())
    make(tmp_path / "photos")
    with pytest.raises(InputError, match=rf"expected a folder of photos for --unlabeled, found {found} at "):
        open_unlabelled(tmp_path / "photos", data)
