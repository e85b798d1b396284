"""Image files of every format and mode show what was put into them: the oracle is the array they were made from."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.core.imagefile import MAX_MEGAPIXELS, UPRIGHT, decode, image_size, upright_size
from edgetl.core.preprocess import Preprocess, imagenet

Pixels = NDArray[np.uint8]
pillow_heif.register_heif_opener()  # to write HEIC


def scene(width: int = 60, height: int = 44) -> Pixels:
    """Blocks of flat color, no two corners alike, so that lossy formats keep them and a wrong turn shows."""
    pixels = np.full((height, width, 3), 40, dtype=np.uint8)
    h, w = height // 2, width // 2
    pixels[:h, :w], pixels[:h, w:], pixels[h:, :w] = (220, 30, 30), (30, 200, 40), (30, 40, 210)
    return pixels


def stored(image: Image.Image | NDArray[np.generic], form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form, **options)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def shown(data: bytes) -> NDArray[np.int64]:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def typical(difference: NDArray[np.int64]) -> float:
    """Of flat blocks most pixels come back nearly as they were, from any lossy codec of good quality; edges need not."""
    return float(np.quantile(np.abs(difference), 0.9))


FORMATS = {
    "PNG": 0,
    "BMP": 0,
    "TIFF": 0,
    "PPM": 0,
    "TGA": 0,
    "JPEG": 4,
    "MPO": 4,
    "WEBP": 6,
    "AVIF": 6,
    "HEIF": 6,
    "JPEG2000": 4,
    "GIF": 0,
}


@pytest.mark.parametrize(("form", "off"), FORMATS.items(), ids=list(FORMATS))
def test_every_format_shows_what_was_put_into_it(form: str, off: int) -> None:
    data = stored(Image.fromarray(scene()).quantize(16) if form == "GIF" else scene(), form, quality=95)
    assert image_size(data) == (60, 44)
    assert typical(shown(data) - scene()) <= off


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "MPO", "WEBP", "AVIF", "HEIF"])
def test_orientation_is_undone_once_in_every_format_that_knows_it(form: str, orientation: int) -> None:
    upright: dict[int, Callable[[Pixels], Pixels]] = {  # EXIF 2.32, tag 0x0112: how the stored rows become the upright ones
        1: lambda s: s,
        2: lambda s: s[:, ::-1],
        3: lambda s: s[::-1, ::-1],
        4: lambda s: s[::-1],
        5: lambda s: s.transpose(1, 0, 2),
        6: lambda s: np.rot90(s, -1),
        7: lambda s: s[::-1, ::-1].transpose(1, 0, 2),
        8: lambda s: np.rot90(s, 1),
    }
    found, expected = shown(stored(scene(), form, exif=turned(orientation), quality=95)), upright[orientation](scene())
    assert found.shape == expected.shape and typical(found - expected) <= 6


def test_exif_that_cannot_be_written_again_does_not_refuse_the_photo() -> None:
    """A rational whose bytes are text: Pillow's exif_transpose raises on it."""
    entries = struct.pack("<HHHII", 2, 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x011A, 2, 9, 38) + struct.pack("<I", 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entries + b"seventy-2\0"
    data = stored(scene(), "JPEG", exif=exif, quality=95)
    assert typical(shown(data) - np.rot90(scene(), -1)) <= 6


def test_the_first_frame_of_an_animation_counts() -> None:
    other = Image.fromarray(scene()[::-1].copy())
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        data = stored(Image.fromarray(scene()), form, save_all=True, append_images=[other], lossless=True)
        assert typical(shown(data) - scene()) <= 2, form


def over_white(rgba: Pixels) -> NDArray[np.float64]:
    """Porter & Duff 1984, `over`, on opaque white: float64 [h, w, 3]."""
    alpha = rgba[..., 3:] / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha))


def test_transparency_is_laid_over_white() -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    for form in ("PNG", "TIFF", "WEBP"):
        found = shown(stored(rgba, form, lossless=True, exact=True))
        assert np.abs(found - over_white(rgba)).max() <= 1, form
    gray = rng.integers(0, 256, (20, 30, 2), dtype=np.uint8)
    la = Image.merge("LA", [Image.fromarray(gray[..., 0]), Image.fromarray(gray[..., 1])])
    assert np.abs(shown(stored(la, "PNG")) - over_white(gray[..., [0, 0, 0, 1]])).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white_whatever_color_lies_below(form: str) -> None:
    index = np.arange(60, dtype=np.uint8).reshape(6, 10) % 3
    image = Image.fromarray(index)
    image = image.convert("P")
    image.putdata(index.reshape(-1).tolist())
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 90])
    expected = np.array([(10, 20, 30), (255, 255, 255), (0, 0, 90)])[index]
    np.testing.assert_array_equal(shown(stored(image, form, transparency=1)), expected)


def test_a_transparent_color_without_alpha_channel_is_white() -> None:
    rgb = scene()
    expected = np.where((rgb == (30, 200, 40)).all(-1, keepdims=True), 255, rgb)
    np.testing.assert_array_equal(shown(stored(rgb, "PNG", transparency=(30, 200, 40))), expected)


def png16(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit RGB PNG, which Pillow does not write (PNG specification, sections 5 and 11)."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "TIFF", "big TIFF", "JPEG2000", "PGM", "color"])
def test_sixteen_bits_give_the_same_brightness_as_eight(form: str) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (32, 24), dtype=np.uint16)
    if form == "PGM":
        data = b"P5\n24 32\n65535\n" + values.astype(">u2").tobytes()
    elif form == "color":
        data = png16(values[..., None].repeat(3, axis=2))
    elif form == "big TIFF":
        data = stored(Image.frombytes("I;16B", (24, 32), values.astype(">u2").tobytes()), "TIFF")
    else:
        data = stored(values, form)
    np.testing.assert_array_equal(shown(data), (values >> 8)[..., None].repeat(3, axis=2))
    eight = np.random.default_rng(1).integers(0, 256, (32, 24), dtype=np.uint8)
    np.testing.assert_array_equal(shown(stored(eight.astype(np.uint16) * 257, "PNG")), shown(stored(eight, "PNG")))


def test_one_bit_gray_and_color_conversions() -> None:
    bits = np.random.default_rng(2).integers(0, 2, (9, 13), dtype=np.uint8) * 255
    for form in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(shown(stored(Image.fromarray(bits).convert("1"), form)), bits[..., None].repeat(3, axis=2))
    gray = np.random.default_rng(3).integers(0, 256, (9, 13), dtype=np.uint8)
    np.testing.assert_array_equal(shown(stored(gray, "PNG")), gray[..., None].repeat(3, axis=2))


def test_floating_point_in_zero_to_one_is_taken_and_the_rest_refused() -> None:
    values = np.random.default_rng(4).random((9, 13), dtype=np.float32)
    expected = np.rint(values * 255)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(shown(stored(values, "TIFF")), expected)
    with pytest.raises(InputError, match=r"expected floating-point pixels from 0 to 1 \(white\), found -1 to 300\. Save it with 8 or 16"):
        decode(stored(np.array([[-1, 300]], dtype=np.float32), "TIFF"))
    with pytest.raises(InputError, match="floating-point pixels"):
        decode(stored(np.array([[0, np.nan]], dtype=np.float32), "TIFF"))
    with pytest.raises(
        InputError, match=r"has 32-bit or signed integer pixels, for which no white level is defined\. Save it with 8 or 16 bits"
    ):
        decode(stored(np.array([[0, 70_000]], dtype=np.int32), "TIFF"))


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk_is_ink_over_white(form: str) -> None:
    """JPEG stores CMYK inverted, with Adobe's marker, as every program that writes it does."""
    blocks = np.zeros((32, 32, 4), dtype=np.uint8)
    blocks[:16, :16], blocks[:16, 16:], blocks[16:, :16] = (255, 0, 0, 0), (0, 200, 100, 50), (0, 0, 0, 255)
    image = Image.frombytes("CMYK", (32, 32), blocks.tobytes())
    data = stored(image, form, quality=100, subsampling=0) if form == "JPEG" else stored(image, form)
    assert form == "TIFF" or b"Adobe" in data[:200]
    ink = blocks.astype(np.float64) / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert np.abs(shown(data) - expected).max() <= 3


def photo(width: int, height: int, seed: int = 0) -> Pixels:
    """Waves of several lengths, an edge and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9) + np.sin(y / 70), np.cos(y / 13), np.sin((x + 2 * y) / 30)], axis=-1) * 50 + 120
    waves[:, width // 3 :] *= 0.6
    return np.asarray((waves + rng.normal(0, 8, waves.shape)).clip(0, 255), dtype=np.uint8)


REDUCED = [
    ((1600, 1200), 512, (800, 600)),
    ((1200, 1600), 512, (600, 800)),
    ((1600, 1200), 300, (400, 300)),
    ((1604, 1204), 150, (401, 301)),
    ((1602, 1204), 150, (801, 602)),
    ((1601, 1204), 150, (1601, 1204)),
    ((1600, 1200), 150, (200, 150)),
    ((1600, 1200), 20, (200, 150)),
    ((1600, 1200), 601, (1600, 1200)),
    ((60, 44), 300, (60, 44)),
]


@pytest.mark.parametrize(("size", "wanted", "found"), REDUCED)
def test_a_jpeg_is_decoded_no_smaller_than_asked(size: tuple[int, int], wanted: int, found: tuple[int, int]) -> None:
    assert decode(stored(photo(*size), "JPEG"), shorter=wanted).size == found


def test_what_is_not_larger_than_twice_the_wanted_size_is_the_same_either_way() -> None:
    preprocess = Preprocess(size=100, resize=110)
    for data in (stored(photo(439, 500), "JPEG"), stored(photo(800, 600), "PNG"), stored(photo(64, 64), "JPEG")):
        np.testing.assert_array_equal(preprocess.pixels(data), preprocess.quick().pixels(data))


@pytest.mark.parametrize(("form", "orientation"), [("JPEG", 1), ("JPEG", 6), ("MPO", 8)])
def test_a_reduced_decode_gives_nearly_the_pixels_of_a_full_one(form: str, orientation: int) -> None:
    data = stored(photo(1608, 1208), form, quality=92, exif=turned(orientation))
    full = imagenet(112).pixels(data).astype(np.int64)
    quick = imagenet(112).quick().pixels(data).astype(np.int64)
    assert 0 < np.abs(full - quick).mean() < 0.6 and np.abs(full - quick).max() <= 6
    other = Preprocess(size=112, resize=128, filter="bicubic").pixels(data).astype(np.int64)
    assert np.abs(full - other).mean() > np.abs(full - quick).mean()  # less than another filter would change


def test_a_truncated_photo_is_refused_at_reduced_size_too() -> None:
    data = stored(photo(1600, 1200), "JPEG")
    for shorter in (None, 100):
        with pytest.raises(InputError, match="truncated"):
            decode(data[:-2000], shorter=shorter)


def header(width: int, height: int) -> bytes:
    """The first bytes of a PNG of that size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 0) + b"IDAT"


@pytest.mark.parametrize(("side", "found"), [(13_400, 180), (60_000, 3600)])
def test_an_absurdly_large_image_is_refused_from_its_header(side: int, found: int) -> None:
    for read in (decode, image_size):
        with pytest.raises(InputError, match=rf"too large: expected at most {MAX_MEGAPIXELS} megapixels, found {found}\. Save it smaller"):
            read(header(side, side))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_the_upright_size_is_read_from_the_header(form: str) -> None:
    for orientation in range(1, 9):
        data = stored(scene(), form, exif=turned(orientation))
        assert upright_size(data) == decode(data).size == ((44, 60) if orientation > 4 else (60, 44))
    plain = stored(scene(600, 440), form)
    assert upright_size(plain[: len(plain) // 2] if form in ("PNG", "JPEG") else plain) == (600, 440)


def test_an_absurdly_thin_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"too narrow: expected an aspect ratio of at most 100 to 1, found 1000 x 9 pixels\. Crop it"):
        decode(stored(np.zeros((9, 1000), dtype=np.uint8), "PNG"))
    assert decode(stored(np.zeros((10, 1000), dtype=np.uint8), "PNG")).size == (1000, 10)


def test_heic_needs_no_suffix_to_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(scene(), "HEIF", quality=95)
    monkeypatch.setattr(Image, "OPEN", {name: opener for name, opener in Image.OPEN.items() if name != "HEIF"})
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    assert typical(shown(data) - scene()) <= 6


def test_the_table_of_turns_holds_every_orientation_but_upright() -> None:
    assert sorted(UPRIGHT) == list(range(2, 9))
