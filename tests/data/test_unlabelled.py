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
