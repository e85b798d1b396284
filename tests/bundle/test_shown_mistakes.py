"""The golden images of every bundle show red and blue exchanged, no antialias, and another way to fit a picture."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl.bundle.drawn_picture import draw
from edgetl.bundle.golden import read_golden
from edgetl.bundle.graph import output_step
from edgetl.bundle.shown_mistakes import MISTAKES, showing_mistakes, shown_by
from edgetl.bundle.write import write_bundle
from edgetl.core.preprocess import Preprocess, imagenet
from edgetl.runtime.onnx_metadata import ModelInfo

from .conftest import PICTURES, PREPROCESS, picture

GRAY = {"color": "gray", "mean": (0.3,), "std": (0.3,)}
KINDS = {
    "digits": Preprocess(size=32, resize=32),
    "imagenet": replace(imagenet(), decode="reduced"),
    "bands": Preprocess(size=(48, 32), resize=(48, 32), fit="pad", fill=114),
    "squashed": Preprocess(size=64, resize=64, fit="squash", filter="lanczos"),
    "wide": Preprocess(size=(40, 90), resize=(44, 99), filter="bicubic"),
    "gray": Preprocess(size=28, resize=28, **GRAY),  # type: ignore[arg-type]
    "gray bands": Preprocess(size=(48, 32), resize=(48, 32), fit="pad", fill=0, bits=12, **GRAY),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_drawn_picture_shows_each_mistake(kind: str) -> None:
    preprocess, data = KINDS[kind], draw(KINDS[kind])
    assert set(shown_by(data, preprocess)) == MISTAKES
    image = Image.open(io.BytesIO(data))
    image.verify()  # its checksums
    assert image.width > preprocess.shape[2] and image.height > preprocess.shape[1] and image.width != image.height
    assert data == draw(preprocess)
    levels = preprocess.picture(data)
    assert (levels == 255).all(axis=2).any() and not (levels == 0).all(axis=2).any()  # what is transparent lies on white


def test_a_picture_of_many_blocks_is_whole() -> None:
    data = draw(Preprocess(size=512, resize=512))
    start = data.index(b"IDAT") + 4
    lines = zlib.decompress(data[start : data.index(b"IEND") - 8])
    assert len(lines) == 640 * (1 + 768 // 4) > 65535


def test_images_that_show_every_mistake_stay_as_they_are() -> None:
    assert showing_mistakes(PICTURES, PREPROCESS) == list(PICTURES)


def test_the_drawn_picture_takes_the_place_of_the_last_image_where_a_mistake_would_not_show() -> None:
    large = (picture(5, 90, 60, grain=60), ".png")
    gray, square, smooth = ((picture(5, 90, 60, grain=60, mode="L"), ".png"), (picture(6, 60, 60, grain=60), ".png"), PICTURES[1])
    drawn = (draw(PREPROCESS), ".png")
    assert set(shown_by(gray[0], PREPROCESS)) == MISTAKES - {"blue before red"}
    assert set(shown_by(square[0], PREPROCESS)) == MISTAKES - {"another fit"}
    assert set(shown_by(smooth[0], PREPROCESS)) == MISTAKES - {"no antialias"}
    for one in (gray, square, smooth):
        assert showing_mistakes([one, one], PREPROCESS) == [one, drawn]
        assert showing_mistakes([one], PREPROCESS) == [one, drawn]
        assert showing_mistakes([one, large], PREPROCESS) == [one, large]
    assert showing_mistakes([gray, square], PREPROCESS) == [gray, square]  # together they do
    again = showing_mistakes([gray, gray], PREPROCESS)
    assert showing_mistakes(again, PREPROCESS) == again
    assert showing_mistakes([], PREPROCESS) == []


def test_a_drawn_picture_widens_no_tolerance(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    float_path, int8_path = graphs
    given: dict[str, Any] = {"shipped": int8_path, "float_model": float_path, "form": "int8", "info": info, "target": "portable"}
    smooth = [(picture(seed, 60, 60), ".png") for seed in range(4)]
    bundles = [
        write_bundle(tmp_path / name, golden=golden, provenance={}, **given)
        for name, golden in (("replaced", smooth), ("again", [*smooth[:3], (draw(PREPROCESS), ".png")]))
    ]
    assert bundles[0].sha256 == bundles[1].sha256
    golden = read_golden(bundles[0].path)
    assert [entry.image for entry in golden.images] == ["00.png", "01.png", "02.png", "03.png"]
    rows = {
        name: np.concatenate([np.load(bundles[0].path / "golden" / entry.outputs[name]) for entry in golden.images]).astype(np.float64)
        for name in golden.tolerances
    }
    rounding = 4 * np.sqrt(np.mean((rows["model.onnx"][:3] - rows["model.float.onnx"][:3]) ** 2))
    step = output_step(bundles[0].model)
    assert step is not None
    most = 0.05 * np.abs(rows["model.onnx"][:3]).max()
    assert golden.tolerances["model.onnx"].abs == pytest.approx(max(2 * step, min(rounding, most)), rel=1e-3)


def test_a_picture_without_detail_hides_a_missing_antialias() -> None:
    plain = io.BytesIO()
    Image.fromarray(np.full((60, 90, 3), (200, 100, 0), np.uint8)).save(plain, "PNG")
    assert set(shown_by(plain.getvalue(), PREPROCESS)) == {"blue before red"}
