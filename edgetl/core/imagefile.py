"""Image files: from bytes to an upright 8-bit RGB picture, decoded by Pillow.

| in the file                          | in the picture                                                                    |
|--------------------------------------|-----------------------------------------------------------------------------------|
| several frames or pages              | the first (of HEIC: the primary image)                                            |
| EXIF orientation                     | undone; of HEIC and AVIF the container's own rotation and mirroring, which rule   |
| transparency (alpha, palette, tRNS)  | laid over white                                                                   |
| 16 bits per channel                  | the high byte, which is how Pillow reads 16-bit color; of gray that holds fewer   |
|                                      | bits (12, say), the highest eight of those                                        |
| floating point                       | times 255, if all values lie in [0, 1]; otherwise refused, for white is not known |
| 32-bit integers                      | refused, for the same reason                                                      |
| CMYK                                 | (1 - ink)(1 - black), inverted files (Adobe) put right                            |
| color profile (ICC)                  | left alone: numbers are taken as sRGB                                             |
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgetl.core.errors import InputError

MAX_MEGAPIXELS = 178  # Pillow's own limit against decompression bombs, 2 * Image.MAX_IMAGE_PIXELS
MAX_ASPECT = 100  # a strip of 1 x 10,000 pixels would be resized to gigabytes
# What Pillow's decoders were seen to raise on damaged files (libavif: RuntimeError), and what struct and zlib raise inside them.
UNDECODABLE = (
    *(OSError, ValueError, SyntaxError, RuntimeError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError),
    *(struct.error, zlib.error),
)
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
DEEP_FORMATS = (b"II*", b"MM\0*", b"P5", b"P6", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")  # TIFF, portable maps, JPEG 2000
IMAGE_HEAD_BYTES = 32
DEPTHS = (8, 10, 12, 14, 16)  # bits that 16-bit files are filled with
BITS_PER_SAMPLE = 258  # TIFF 6.0
ORIENTATION = 0x0112  # EXIF 2.32, table 4
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pictures of 90 to 178 megapixels are photos; Pillow would warn of each, on whatever stream is at hand.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, kw_only=True)
class Depth:
    """What image files of 16 bits per channel hold: the largest value, and whether any is in color, of which only the high byte is read."""

    largest: int
    color: bool = False

    @property
    def bits(self) -> int:
        """The fewest bits that cameras and scanners give which hold the largest value."""
        return next(bits for bits in DEPTHS if self.largest < 1 << bits)

    def beside(self, other: Depth | None) -> Depth:
        """The depth of both together."""
        return self if other is None else Depth(largest=max(self.largest, other.largest), color=self.color or other.color)


def decode(data: bytes, *, shorter: int | None = None, bits: int | None = None) -> Image.Image:
    """The bytes of an image file as an upright RGB image.

    Args:
        data: the whole file.
        shorter: decode at a half, a quarter or an eighth of the size where the codec can (JPEG): the smallest of them whose
            sides are whole numbers, the shorter one at least this, pixels. None: at full size.
        bits: how many of the 16 bits of 16-bit gray the picture fills, 8 to 16. None: all.

    Raises:
        InputError: no image, truncated, absurdly large or thin, or of values whose white is not known.
    """
    with _opened(data) as image:
        if shorter is not None:
            width, height = image.size
            part = _divisor(width, height, shorter)
            image.draft(None, (width // part, height // part))
        image.load()
        return flattened(upright(image), bits)


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height of an image file as it is stored, from its header alone.

    Raises:
        InputError: no image, or an absurdly large or thin one.
    """
    with _opened(data) as image:
        return image.size


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of an image file as it is to be looked at, from its header alone.

    Raises:
        InputError: no image, or an absurdly large or thin one.
    """
    with _opened(data) as image:
        width, height = image.size  # of TIFF upright already
        silent = image.format == "PNG" and "exif" not in image.info  # Pillow would read all pixels to find EXIF behind them
        return (width, height) if silent or image.format == "TIFF" or _orientation(image) not in SIDEWAYS else (height, width)


def may_be_deep(head: bytes) -> bool:
    """Whether a file that begins so may have 16 bits per channel; 32 bytes are enough."""
    return head[24:25] == b"\x10" if head.startswith(b"\x89PNG") else head.startswith(DEEP_FORMATS)


def depth_of(data: bytes) -> Depth | None:
    """The largest value of an image file of 16 bits per channel; None for one of fewer bits, of which only the header is read.

    Raises:
        InputError: no image, truncated, or absurdly large or thin.
    """
    with _opened(data) as image:
        if _stored_bits(image) != 16:
            return None
        image.load()
        values = np.asarray(image)
        if values.ndim == 2:
            return Depth(largest=min(max(int(values.max()), 0), 65535))
        opaque = values[..., :-1] if image.mode.endswith("A") else values
        return Depth(largest=int(opaque.max()) << 8 | 255, color=True)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image, its pixels not read yet; what goes wrong with it inside the block becomes an InputError."""
    try:
        register_heif(data)
        with Image.open(io.BytesIO(data)) as image:
            _check_size(*image.size)
            yield image
    except UnidentifiedImageError as error:
        raise InputError(f"expected an image, found {len(data)} bytes in a format that Pillow does not read") from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(int(pixels.group()) if pixels else math.inf) from None
    except UNDECODABLE as error:
        raise InputError(f"expected an image, found bytes that cannot be decoded: {error}") from error


def _divisor(width: int, height: int, shorter: int) -> int:
    """By how much both sides are divided. Only without a remainder: a codec rounds sides up, which would stretch the picture."""
    whole = (part for part in (8, 4, 2) if width % part == height % part == 0 and min(width, height) // part >= shorter)
    return next(whole, 1)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(width * height)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"too narrow: expected an aspect ratio of at most {MAX_ASPECT} to 1, found {width} x {height} pixels. Crop it")


def _too_large(pixels: float) -> InputError:
    return InputError(f"too large: expected at most {MAX_MEGAPIXELS} megapixels, found {pixels / 1e6:.0f}. Save it smaller")


def register_heif(data: bytes) -> None:
    """Teach Pillow to read HEIC, once such a file turns up, whatever its name is.

    Raises:
        InputError: pillow-heif is not installed.
    """
    if data[4:8] != b"ftyp" or data[8:12] not in HEIF_BRANDS or "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InputError("is a HEIC image, which needs the package pillow-heif. Install it: pip install pillow-heif") from None
    register_heif_opener()


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF says it is to be looked at; a loaded one, for Pillow turns some formats while it loads them.

    Pillow's own `exif_transpose` also writes the EXIF anew, which fails on tags that some cameras get wrong.
    """
    turn = UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except UNDECODABLE:
        return 1  # viewers show such a photo as it is stored


def _stored_bits(image: Image.Image) -> int:
    """Bits per channel of the file, as far as its header says so; 8 where Pillow reads no more anyway."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return int(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0])
    tiles = getattr(image, "tile", None)
    rawmode = tiles[0].args if tiles else ""  # "RGB;16B", or a tuple that begins so
    return 16 if ";16" in str(rawmode[0] if isinstance(rawmode, tuple) else rawmode) else 8


def flattened(image: Image.Image, bits: int | None = None) -> Image.Image:
    """Any mode as 8-bit RGB; 16-bit gray by the highest 8 of its `bits`.

    Raises:
        InputError: values whose white is not known.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        image = _high_bytes(image, bits)
    elif image.mode == "F":
        image = _from_unit(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _high_bytes(image: Image.Image, bits: int | None) -> Image.Image:
    """16-bit gray as 8-bit gray. Pillow reads 16-bit PGM as mode I, and TIFF of 12 bits, whose header says so, as mode I;16."""
    stored = _stored_bits(image)
    if image.mode == "I" and (image.format != "PPM" or stored != 16):
        raise InputError("has 32-bit or signed integer pixels, for which no white level is defined. Save it with 8 or 16 bits")
    filled = stored if stored != 16 or bits is None else bits
    return Image.fromarray((np.asarray(image).astype(np.int64) >> (filled - 8)).clip(0, 255).astype(np.uint8))


def _from_unit(values: NDArray[np.float32]) -> Image.Image:
    """Gray in [0, 1] as 8-bit gray."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"expected floating-point pixels from 0 to 1 (white), found {low:g} to {high:g}. Save it with 8 or 16 bits")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
