"""Resizing in the graph against Pillow, through `Preprocess`: all fits and filters, gray and RGB, odd and tiny pictures, real photos."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetl.bundle.graph_writing import GraphBuilder
from edgetl.bundle.image_graph import with_picture_input
from edgetl.bundle.resize_graph import Resizing
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess, Rectangle
from edgetl.runtime.onnx_metadata import ModelInfo

from .conftest import PREPROCESS, float_graph, picture

FITS, FILTERS = ("crop", "squash", "pad"), ("bilinear", "bicubic", "lanczos")


def preprocess_of(fit: str, kind: str, color: str = "RGB", size: Rectangle = 32, resize: Rectangle = 32) -> Preprocess:
    channels = 1 if color == "gray" else 3
    return Preprocess.from_fields(
        {
            "size": size, "resize": resize, "fit": fit, "filter": kind, "color": color,
            "mean": [0.5] * channels, "std": [0.25] * channels, "fill": 9 if fit == "pad" else None,
        }
    )  # fmt: skip


def resizer(preprocess: Preprocess, opset: int = 20) -> ort.InferenceSession:
    written = GraphBuilder()
    output = Resizing(written=written, preprocess=preprocess, opset=opset).pixels("image")
    graph = helper.make_graph(
        written.nodes, "resize", [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", preprocess.channels])],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, [1, *preprocess.shape])],
        [numpy_helper.from_array(value, name) for name, value in written.values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def off(session: ort.InferenceSession, preprocess: Preprocess, image: Image.Image) -> NDArray[np.int64]:
    """Levels between the graph and Pillow."""
    image = image.convert("L" if preprocess.channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
    (found,) = session.run(None, {"image": pixels})
    expected = preprocess.crop(preprocess.resized(image))
    return np.abs(found[0].transpose(1, 2, 0).astype(int) - expected)


def smooth(seed: int, width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(picture(seed, width, height)))


@pytest.mark.parametrize(("fit", "kind"), list(itertools.product(FITS, FILTERS)))
def test_pictures_of_every_shape_become_as_pillow_makes_them(fit: str, kind: str) -> None:
    for color, (size, resize) in itertools.product(("RGB", "gray"), ((32, 32), (24, 27), ((20, 31), (25, 31)))):
        preprocess = preprocess_of(fit, kind, color, size, resize)
        session = resizer(preprocess)
        for width, height in ((61, 97), (300, 5), (8, 8), (1, 1), (1, 50), (2, 3), (32, 33), (40, 31), (27, 27)):
            levels = off(session, preprocess, smooth(width, width, height))
            assert (levels <= 1).mean() >= 0.99 and levels.max() <= 2, (color, size, resize, width, height, levels.max())


def test_what_is_not_resized_is_not_changed() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for fit, kind in itertools.product(FITS, FILTERS):
        preprocess = preprocess_of(fit, kind)
        assert off(resizer(preprocess), preprocess, noise).max() == 0


def test_without_antialias_it_would_be_found() -> None:
    """The guard can fail: another filter is far beyond a level."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    assert off(resizer(preprocess_of("squash", "bilinear")), preprocess_of("squash", "bicubic"), noise).max() > 10


def test_older_opsets_do_the_same() -> None:
    preprocess = preprocess_of("crop", "lanczos")
    assert off(resizer(preprocess, opset=12), preprocess, smooth(1, 50, 70)).max() <= 1


@pytest.mark.parametrize(("fit", "kind"), list(itertools.product(FITS, FILTERS)))
def test_photos_are_within_one_level_on_99_percent(shared: Path, fit: str, kind: str) -> None:
    preprocess = preprocess_of(fit, kind, size=96, resize=110 if fit == "crop" else 96)
    session, photos = resizer(preprocess), sorted((shared / "data" / "hymenoptera").rglob("*.jpg"))[::40]
    assert len(photos) > 3
    for path in photos:
        assert (off(session, preprocess, Image.open(path)) <= 1).mean() >= 0.99, path.name


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_of_any_size_gives_the_logits_of_its_prepared_form(seed: int) -> None:
    model, data = float_graph(), picture(seed, 40 + 7 * seed, 33)
    graph = with_picture_input(model, PREPROCESS)
    onnx.checker.check_model(graph, full_check=True)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    _, logits = session.run(None, {"image": PREPROCESS.picture(data)[None]})
    whole = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = whole.run(None, {"image": PREPROCESS(data)[None]})
    np.testing.assert_allclose(logits, expected, atol=0.05)
    assert logits.argmax() == expected.argmax()


def test_a_graph_of_several_images_at_once_is_refused(info: ModelInfo) -> None:
    model = float_graph()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(InputError, match="takes 4"):
        with_picture_input(model, PREPROCESS)
