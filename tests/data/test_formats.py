"""A folder as people have it: every format, wrong suffixes, odd names, broken files; what counts, what is named, what is left out."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.calibration import open_calibration, open_labelled
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.pipeline_options import PipelineOptions
from edgetl.settings import DataSettings, PipelineSettings

Photos = Callable[..., Path]
SKIP = DataSettings(skip_bad_images=True)
PREPARED = Preprocess(size=8, resize=8)
pillow_heif.register_heif_opener()  # to write HEIC

KINDS = {".jpg": "JPEG", ".HEIC": "HEIF", ".avif": "AVIF", ".webp": "WEBP", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP", ".tiff": "TIFF"}
MODES = {".jpg": "CMYK", ".png": "I;16", ".gif": "P", ".webp": "RGBA", ".tiff": "LA"}


def stored(seed: int, form: str, mode: str = "RGB", **options: object) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    (image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)).save(stream, form, **options)
    return stream.getvalue()


def mixed(root: Path, turns: int = 4) -> Path:
    """Two classes, `turns` images of each of eight formats, some in other modes, half of them turned; and a HEIC named .jpg."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, label in enumerate(("katze 猫 🐈", "كلب")):
        (root / label).mkdir(parents=True)
        for turn in range(turns):
            for place, (suffix, form) in enumerate(KINDS.items()):
                seed, mode = 1000 * number + 10 * turn + place, MODES.get(suffix, "RGB") if turn == 3 else "RGB"
                extra = {"exif": exif.tobytes()} if turn % 2 and form not in ("GIF", "BMP") else {}
                (root / label / f"IMG {turn} ü{suffix}").write_bytes(stored(seed, form, mode, **extra))
        (root / label / "really heic.jpg").write_bytes(stored(1000 * number + 999, "HEIF"))
    return root


def broken(root: Path) -> list[str]:
    """Files that cannot be decoded, and their places."""
    whole = stored(500, "JPEG")
    bad = {"empty.jpg": b"", "half.jpg": whole[: len(whole) // 2], "text.png": b"no picture", "half.HEIC": stored(501, "HEIF")[:400]}
    bad["bomb.png"] = b"P6\n60000 60000\n255\n"
    for name, data in bad.items():
        (root / "كلب" / name).write_bytes(data)
    return sorted(f"كلب/{name}" for name in bad)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_every_format_and_any_script_is_read(tmp_path: Path) -> None:
    images = open_images(str(mixed(tmp_path / "photos")), DataSettings())
    assert images.classes == ("katze 猫 🐈", "كلب") and len(images) == 66
    for index in range(len(images)):
        assert PREPARED.pixels(images.read(index)).shape == (8, 8, 3)


def test_bad_images_are_named_all_at_once_with_the_way_out(tmp_path: Path) -> None:
    root = mixed(tmp_path / "photos")
    places = broken(root)
    message = refused(lambda: open_images(str(root), DataSettings()))
    assert "image files that cannot be decoded. Replace or delete them, or leave them out with --skip-bad-images:" in message
    listed = [line.strip().split(": ")[0] for line in message.splitlines() if line.startswith("  ")]
    assert listed == places
    for reason in ("empty.jpg: empty file", "text.png: no image", "bomb.png: too large: expected at most 178 megapixels, found 3600"):
        assert reason in message


def test_skipping_goes_on_without_them_and_counts_them(tmp_path: Path, told: Any) -> None:
    root = mixed(tmp_path / "photos")
    good = open_images(str(root), DataSettings())
    places = broken(root)
    (root / "كلب" / "notes.txt").write_text("-", encoding="utf-8")
    (root / "katze 猫 🐈" / "clip.mov").write_bytes(b"-")
    images = open_images(str(root), SKIP)
    assert images.digest == good.digest
    assert (images.intake.skipped_images, images.intake.ignored_files) == (len(places), 2)
    assert f"photos: skipped {len(places)} image files that cannot be decoded:\n  {places[0]}: " in told.text
    assert all(place in told.text for place in places)


def test_a_class_that_loses_all_its_images_is_an_error_even_so(photos: Photos) -> None:
    root = photos({"ants": 20, "bees": 20})
    for path in (root / "bees").iterdir():
        path.write_bytes(b"broken")
    message = refused(lambda: open_images(str(root), SKIP))
    assert "- classes of which no image at all can be decoded. Replace their images:\n  bees" in message


def test_calibration_and_evaluation_skip_as_well(photos: Photos) -> None:
    root = photos({"ants": 8, "bees": 8})
    (root / "ants" / "000.png").write_bytes(b"")
    for opened in (partial(open_calibration, root, PREPARED), partial(open_labelled, str(root))):
        assert "--skip-bad-images" in refused(opened)
        found = opened(skip_bad_images=True)
        images = found.images if isinstance(found, ImageTensors) else found
        assert isinstance(images, Images) and len(images) == 15 and images.intake.skipped_images == 1


def test_skipping_is_a_setting_of_the_data() -> None:
    assert not PipelineSettings().data.skip_bad_images
    assert PipelineSettings.from_tables(PipelineOptions(skip_bad_images=True).tables()).data.skip_bad_images


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_class_has_one_name_however_the_system_spells_it(photos: Photos, form: str) -> None:
    """A Mac hands out decomposed names; the same photos must be the same data set everywhere."""
    composed = unicodedata.normalize("NFC", "café crème")
    images = open_images(str(photos({unicodedata.normalize(form, composed): 12, "tea": 12}, root=form)), DataSettings())
    assert images.classes == (composed, "tea")
    assert (
        open_labelled(str(photos({unicodedata.normalize(form, composed): 2}, root="new")), classes=images.classes).classes == images.classes
    )


def test_parts_may_spell_a_class_differently(photos: Photos) -> None:
    names = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    images = open_images(str(photos({f"train/{names[0]}": 12, "train/a": 12, f"val/{names[1]}": 3, "val/a": 3})), DataSettings())
    assert images.classes == ("a", names[0]) and images.counts()["test"] == 6


def test_a_model_of_decomposed_class_names_knows_the_composed_ones(photos: Photos) -> None:
    names = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    assert open_labelled(str(photos({names[0]: 3, "a": 3})), classes=("a", names[1])).labels.max() == 1


def test_class_names_that_cannot_be_one_line_are_refused(photos: Photos) -> None:
    try:
        root = photos({"two\nlines": 5, "bell\a": 5, "fine‍🔬": 5})
    except OSError:
        pytest.skip("needs a file system that takes such names")
    message = refused(lambda: open_images(str(root), DataSettings()))
    said = "- class names with line breaks, control characters or bytes that are no UTF-8. Rename them:\n  'bell\\x07'\n  'two\\nlines'"
    assert said in message and "fine" not in message


def test_a_very_long_name_is_a_name(photos: Photos) -> None:
    label = "ж" * 120  # 240 bytes; most file systems take 255
    images = open_images(str(photos({label: 12, "b": 12})), DataSettings())
    assert label in images.classes


def test_the_median_side_needs_no_pixels(tmp_path: Path) -> None:
    root = mixed(tmp_path / "photos")
    images = open_images(str(root), DataSettings())
    for ref in images.refs:  # only headers are left
        path = root / ref.where
        if path.suffix == ".jpg" and "heic" not in path.name:
            path.write_bytes(path.read_bytes()[:1500])
    assert images.median_side == 48
