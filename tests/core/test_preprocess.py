"""Preprocess: the same numbers as torchvision's transforms, from the bytes of image files; refuses what it cannot honor."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms  # the oracle
from torchvision.transforms import InterpolationMode

from edgetl.core.errors import InputError, SettingsError
from edgetl.core.imagefile import decode
from edgetl.core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, imagenet

SIZES = [(32, 32), (33, 47), (47, 33), (224, 224), (101, 64), (500, 375), (375, 501), (17, 90), (8, 8)]  # width, height


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colors with noise and an edge, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 20
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1) * 80 + 128
    waves[:, width // 2 :] *= 0.6
    return np.asarray((waves + rng.normal(0, 15, waves.shape)).clip(0, 255), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def oracle(p: Preprocess, data: bytes) -> NDArray[np.float32]:
    """What torchvision makes of the same bytes."""
    chain = transforms.Compose(
        [
            transforms.Resize(p.resize, InterpolationMode(p.filter), antialias=True),
            transforms.CenterCrop(p.size),
            transforms.ToTensor(),
            transforms.Normalize(p.mean, p.std),
        ]
    )
    with Image.open(io.BytesIO(data)) as image:
        tensor = chain(image.convert("RGB"))
    return np.asarray(tensor.numpy(), dtype=np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(size=32, resize=32),
        Preprocess(size=32, resize=37, filter="bicubic"),
        imagenet(64),
        imagenet(97),
        Preprocess(size=48, resize=48, filter="lanczos", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 1.0)),
    ],
    ids=lambda p: f"{p.resize}-{p.size}-{p.filter}",
)
def test_jpeg_bytes_give_torchvisions_tensor(preprocess: Preprocess, size: tuple[int, int]) -> None:
    data = encoded(Image.fromarray(photo(*size)), "JPEG", quality=90)
    ours, theirs = preprocess(data), oracle(preprocess, data)
    assert ours.shape == theirs.shape == (3, preprocess.size, preprocess.size)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_the_comparison_can_fail() -> None:
    data = encoded(Image.fromarray(photo(101, 64)), "JPEG")
    wrong = oracle(Preprocess(size=32, resize=37, filter="bicubic"), data)
    assert np.abs(Preprocess(size=32, resize=37)(data) - wrong).max() > 1e-2


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "1", "CMYK"])
def test_every_color_mode_is_read_as_torchvision_reads_rgb(mode: str) -> None:
    data = encoded(Image.fromarray(photo(40, 50)).convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    preprocess = Preprocess(size=32, resize=36)
    np.testing.assert_allclose(preprocess(data), oracle(preprocess, data), rtol=0, atol=1e-6)


UPRIGHT = {  # EXIF 2.32, tag 0x0112: how the stored rows become the upright ones
    1: lambda s: s,
    2: lambda s: s[:, ::-1],
    3: lambda s: s[::-1, ::-1],
    4: lambda s: s[::-1],
    5: lambda s: s.transpose(1, 0, 2),
    6: lambda s: np.rot90(s, -1),
    7: lambda s: s[::-1, ::-1].transpose(1, 0, 2),
    8: lambda s: np.rot90(s, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_undone(orientation: int) -> None:
    stored = photo(31, 45)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = np.asarray(decode(encoded(Image.fromarray(stored), "PNG", exif=exif)))
    np.testing.assert_array_equal(found, UPRIGHT[orientation](stored))


def test_pixels_and_normalize_are_the_two_halves_of_the_call() -> None:
    data, preprocess = encoded(Image.fromarray(photo(60, 40))), imagenet(32)
    pixels = preprocess.pixels(data)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(preprocess.normalize(pixels), preprocess(data))
    np.testing.assert_array_equal(preprocess.normalize(np.stack([pixels, pixels]))[1], preprocess(data))


def test_the_image_that_was_given_is_not_changed() -> None:
    image = Image.fromarray(photo(60, 40))
    before = image.tobytes()
    Preprocess(size=32, resize=32).resized(image)
    assert image.tobytes() == before


@pytest.mark.parametrize("size", [96, 160, 224, 299])
def test_at_keeps_the_share_that_the_crop_cuts_off(size: int) -> None:
    moved = imagenet(224).at(size)
    assert moved.size == size
    assert moved.resize / moved.size == pytest.approx(256 / 224, abs=0.5 / size)


@pytest.mark.parametrize("preprocess", [imagenet(), Preprocess(size=32, resize=32, mean=(0.1, 1 / 3, 2 / 3), filter="bicubic")])
def test_one_line_of_json_brings_it_back(preprocess: Preprocess) -> None:
    assert "\n" not in preprocess.to_json()
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    assert preprocess.to_json() == Preprocess.from_json(preprocess.to_json()).to_json()


def test_json_without_a_decode_keeps_its_meaning() -> None:
    """What was written before there was a choice decodes in full: checkpoints, bundles, published weights."""
    written = (
        '{"color": "RGB", "dtype": "float32", "exif": "transpose", "filter": "bilinear", "layout": "NCHW", "mean": [0.485, 0.456, 0.406], '
    )
    written += '"resize": 256, "scale": "1/255", "size": 224, "std": [0.229, 0.224, 0.225]}'
    assert Preprocess.from_json(written) == imagenet() and imagenet().decode == "full"
    assert Preprocess.from_json(imagenet().quick().to_json()).decode == "reduced"


def test_json_writes_down_even_what_is_fixed_today() -> None:
    for said in (
        '"decode": "full"',
        '"background": "white"',
        '"color": "RGB"',
        '"exif": "transpose"',
        '"scale": "1/255"',
        '"layout": "NCHW"',
        '"dtype": "float32"',
    ):
        assert said in imagenet().to_json()


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "{}", '{"size": 32}', '{"size": 32, "resize": 32, "gamma": 2}', '{"size": 2, "resize": 2}']
)
def test_other_json_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match=r"expected preprocessing as JSON \(size, resize, filter, mean, std\)"):
        Preprocess.from_json(text)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Preprocess(size=4, resize=3, filter="nearest", std=(1.0, 0.0, 1.0), layout="NHWC", decode="half")  # type: ignore[arg-type]
    assert str(caught.value).splitlines() == [
        "preprocessing that cannot be used:",
        "  size: expected 8 to 1024 pixels, found 4",
        "  resize: expected at least size (4), found 3",
        '  filter: expected "bilinear", "bicubic" or "lanczos", found "nearest"',
        '  decode: expected "full" or "reduced", found "half"',
        '  layout: expected "NCHW", found "NHWC". Write "NCHW", which is how images are handed over',
        "  std: expected 1/255 (0.00392157) to 1, since pixel values are divided by 255 before, found [1, 0, 1]",
    ]


def truncated() -> bytes:
    data = encoded(Image.fromarray(photo(90, 90)), "JPEG")
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, truncated()], ids=["empty", "text", "header only", "half"]
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"expected an image, found .*(cannot be decoded|a format that Pillow does not read)"):
        imagenet()(data)


def test_the_constants_are_imagenets_and_the_value_is_frozen() -> None:
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (imagenet().size, imagenet().resize) == (224, 256)
    with pytest.raises(dataclasses.FrozenInstanceError):
        imagenet().size = 3  # type: ignore[misc]
