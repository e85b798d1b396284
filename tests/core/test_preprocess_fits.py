"""Crop, squash and pad; RGB and gray; squares and other rectangles: the same numbers as torchvision's and Pillow's own operations."""

from __future__ import annotations

import io
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision import transforms  # an oracle
from torchvision.transforms import InterpolationMode

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess, imagenet
from edgetl.core.preprocess_rules import pair

SIZES = [(64, 64), (256, 64), (64, 256), (101, 64), (500, 375), (17, 90), (96, 48)]  # width, height
HALF = {"mean": (0.5,), "std": (0.25,)}


def stored(width: int, height: int) -> bytes:
    """Smooth colors with noise, as PNG."""
    rng = np.random.default_rng(width + height)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = (np.asarray(coarse).astype(np.int64) + rng.integers(-9, 10, (height, width, 3))).clip(0, 255)
    stream = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def oracle(p: Preprocess, data: bytes) -> NDArray[np.float32]:
    """The same by torchvision's Resize, CenterCrop and Normalize, and Pillow's ImageOps.pad."""
    image = Image.open(io.BytesIO(data)).convert("L" if p.color == "gray" else "RGB")
    rows, columns = pair(p.resize)
    mode = InterpolationMode(p.filter)
    if p.fit == "pad":
        image = ImageOps.pad(image, (columns, rows), Image.Resampling[p.filter.upper()], color=(p.fill or 0,) * len(image.getbands()))
    elif p.fit == "squash":
        image = transforms.Resize((rows, columns), mode, antialias=True)(image)
    else:
        width, height = image.size
        scale = max(Fraction(rows, height), Fraction(columns, width))
        image = transforms.Resize((floor(scale * height), floor(scale * width)), mode, antialias=True)(image)
    chain = transforms.Compose([transforms.CenterCrop(pair(p.size)), transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
    return np.asarray(chain(image).numpy(), dtype=np.float32)


WAYS = [
    imagenet(48).fitted("squash"),
    imagenet(48).fitted("pad"),
    Preprocess(size=40, resize=48, fit="squash", filter="bicubic"),
    Preprocess(size=40, resize=48, fit="pad", fill=7),
    Preprocess(size=(32, 64), resize=(32, 64)),
    Preprocess(size=(32, 64), resize=(36, 70), filter="lanczos"),
    Preprocess(size=(64, 32), resize=64),
    Preprocess(size=(64, 24), resize=(64, 24), fit="squash"),
    Preprocess(size=(64, 24), resize=(64, 24), fit="pad", fill=255),
    Preprocess(size=28, resize=32, color="gray", **HALF),
    Preprocess(size=(24, 40), resize=(24, 40), color="gray", fit="squash", **HALF),
    Preprocess(size=(24, 40), resize=(24, 40), color="gray", fit="pad", fill=114, **HALF),
]


def named(p: Preprocess) -> str:
    return f"{p.fit} {p.color} {p.resize} {p.size}"


@pytest.mark.parametrize("p", WAYS, ids=named)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_way_gives_the_oracles_tensor(p: Preprocess, size: tuple[int, int]) -> None:
    data = stored(*size)
    found = p(data)
    assert found.shape == p.shape and found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, oracle(p, data), rtol=0, atol=1e-6)


def test_the_comparison_can_fail() -> None:
    data = stored(256, 64)
    ways = [imagenet(48).fitted(fit) for fit in ("crop", "squash", "pad")]
    for way in ways:
        assert [np.abs(way(data) - oracle(other, data)).max() < 1e-6 for other in ways] == [other is way for other in ways]


@pytest.mark.parametrize("p", WAYS, ids=named)
def test_json_brings_every_way_back(p: Preprocess) -> None:
    assert Preprocess.from_json(p.to_json()) == p


def test_what_was_there_before_keeps_its_bytes_and_its_keys() -> None:
    """Written by the edgetl before there was a choice: a square of RGB, cropped."""
    assert imagenet().to_json() == (
        '{"background": "white", "color": "RGB", "decode": "full", "dtype": "float32", "exif": "transpose", "filter": "bilinear", '
        '"layout": "NCHW", "mean": [0.485, 0.456, 0.406], "resize": 256, "scale": "1/255", "size": 224, "std": [0.229, 0.224, 0.225]}'
    )
    assert digest_of(imagenet()) == "909773547a28a6cf0ead77c1786cc669f87ce6a142f69c7ad32a66b80c23bd87"
    assert (
        digest_of(Preprocess(size=32, resize=36, filter="bicubic").quick())
        == "750f5170a4f07e37ab4c858ed0a8fcacf139750dce5bb3cc98854d97f0c0003d"
    )
    assert digest_of(imagenet().fitted("squash")) != digest_of(imagenet())


def test_to_squash_and_to_pad_leave_nothing_to_be_cropped() -> None:
    for width, height in SIZES:
        assert imagenet().fitted("squash").share_kept(width, height) == imagenet().fitted("pad").share_kept(width, height) == 1.0
    assert imagenet().fitted("pad").fitted("crop") == Preprocess(size=224, resize=224)
    assert imagenet().fitted("crop") == imagenet()


@pytest.mark.parametrize(
    ("p", "size", "share"),
    [
        (Preprocess(size=32, resize=32), (256, 64), 1 / 4),
        (Preprocess(size=32, resize=32), (64, 256), 1 / 4),
        (imagenet(224), (256, 256), (224 / 256) ** 2),
        (Preprocess(size=(32, 128), resize=(32, 128)), (256, 64), 1.0),
        (Preprocess(size=(128, 32), resize=(128, 32)), (256, 64), 1 / 16),
    ],
)
def test_the_share_that_the_crop_keeps_is_that_of_the_area(p: Preprocess, size: tuple[int, int], share: float) -> None:
    assert p.share_kept(*size) == pytest.approx(share)


def test_training_sizes_are_squares() -> None:
    assert imagenet(96).side == 96 and Preprocess(size=(96, 96), resize=96).side == 96
    with pytest.raises(InputError, match=r"expected a square input, found 32 x 64 pixels\. edgetl trains networks with square inputs only"):
        Preprocess(size=(32, 64), resize=64).at(48)
