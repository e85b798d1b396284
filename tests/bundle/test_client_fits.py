"""The sample code makes the tensor that the Preprocess makes, in every way of resizing, in RGB and gray, of every kind of file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetl.bundle.client import sample_code
from edgetl.core.preprocess import Preprocess, imagenet

from .conftest import picture

GRAY = {"color": "gray", "mean": (0.5,), "std": (0.25,)}
WAYS: list[dict[str, Any]] = [
    {"size": 24, "resize": 27},
    {"size": 24, "resize": 24, "fit": "squash", "decode": "reduced"},
    {"size": 24, "resize": 27, "fit": "pad", "fill": 114, "decode": "reduced"},
    {"size": (16, 40), "resize": (18, 44), "filter": "bicubic", "decode": "reduced"},
    {"size": (40, 16), "resize": 40},
    {"size": (40, 16), "resize": (40, 16), "fit": "squash"},
    {"size": (16, 40), "resize": (16, 40), "fit": "pad", "fill": 0},
    {"size": 24, "resize": 27, **GRAY, "bits": 12},
    {"size": (16, 40), "resize": (16, 40), **GRAY, "fit": "squash"},
    {"size": (16, 40), "resize": (20, 40), **GRAY, "fit": "pad", "fill": 200, "bits": 10},
]


@pytest.fixture(scope="module")
def sample() -> Callable[[Path, dict[str, Any]], NDArray[np.float32]]:
    """`preprocess` of the sample code, which is imported: nothing is classified."""
    names: dict[str, Any] = {"__name__": "classify"}
    exec(compile(sample_code(), "classify.py", "exec"), names)
    made: Callable[[Path, dict[str, Any]], NDArray[np.float32]] = names["preprocess"]
    return made


def deep(form: str, most: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(most).integers(0, most, (40, 50), dtype=np.uint16)).save(stream, form)
    return stream.getvalue()


FILES = {
    "wide.png": picture(1, 200, 50),
    "tall.png": picture(2, 33, 130),
    "turned.jpg": picture(3, 70, 41, "JPEG", orientation=8),
    "large.jpg": picture(4, 640, 480, "JPEG", orientation=6),
    "gray.png": picture(5, 33, 33, mode="L"),
    "clear.png": picture(6, 31, 33, mode="RGBA"),
    "deep.png": deep("PNG", 65536),
    "12 bits.png": deep("PNG", 4096),
    "12 bits.tif": deep("TIFF", 4096),
    "thin.png": picture(7, 400, 5),
}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_sample_makes_the_same_tensor(way: dict[str, Any], sample: Callable[..., NDArray[np.float32]], tmp_path: Path) -> None:
    preprocess = Preprocess(**way)
    said = json.loads(preprocess.to_json())
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        found = sample(tmp_path / name, said)
        assert found.shape == (1, *preprocess.shape) and found.dtype == np.float32
        np.testing.assert_array_equal(found[0], preprocess(data), err_msg=name)


def test_the_comparison_can_fail(sample: Callable[..., NDArray[np.float32]], tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(FILES["wide.png"])
    said = json.loads(imagenet(32).fitted("squash").to_json())
    assert np.abs(sample(tmp_path / "wide.png", said)[0] - imagenet(32)(FILES["wide.png"])).max() > 0.1
