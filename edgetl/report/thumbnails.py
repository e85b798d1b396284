"""Small pictures for the report, as JPEG. They carry pixels and nothing else: no place, no time, no camera."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from edgetl.core.imagefile import decode, depth_of
from edgetl.report.predictions import Gallery, ShownImage

PICTURES_BYTES = 1_000_000  # of all thumbnails of a report; in the page they take a third more
ENLARGED_SIDE = 64  # images with no longer side are enlarged in whole pixels: the eye needs more than 8 of them
ENLARGED_SIDE = 128
LADDER = ((240, 82), (240, 68), (192, 64), (160, 56), (128, 48), (96, 40))  # (longer side in pixels, JPEG quality)


def with_thumbnails(gallery: Gallery, count: int, read: Callable[[str], bytes], folder: Path) -> Gallery:
    """The gallery with a small picture of the first `count` images of each part, written into `folder`.

    Args:
        gallery: what is shown.
        count: pictures of each part; 0 writes nothing.
        read: sha256 -> the bytes of an image file.
        folder: where the pictures go; their names are made of the images' hashes.
    """
    wanted = {shown.sha256 for part in (gallery.mistakes, gallery.differences) for shown in part[:count]}
    if not wanted:
        return gallery
    folder.mkdir(exist_ok=True)
    for sha in sorted(wanted):
        (folder / _name(sha)).write_bytes(thumbnail(read(sha), PICTURES_BYTES // len(wanted)))

    def pictured(part: tuple[ShownImage, ...]) -> tuple[ShownImage, ...]:
        return tuple(replace(shown, thumbnail=_name(shown.sha256)) if shown.sha256 in wanted else shown for shown in part)

    return replace(gallery, mistakes=pictured(gallery.mistakes), differences=pictured(gallery.differences))


def thumbnail(data: bytes, most_bytes: int) -> bytes:
    """The image file `data`, upright and small, as a JPEG of at most `most_bytes` (96 pixels of low quality where no size fits).

    Raises:
        InputError: no image.
    """
    depth = depth_of(data)
    image = decode(data, bits=depth.bits if depth else None)
    jpeg = b""
    for side, quality in LADDER:
        jpeg = _jpeg(_fitted(image, side), quality)
        if len(jpeg) <= most_bytes:
            break
    return jpeg


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """The whole image with its longer side at `side` pixels, or a multiple of its own where that is small."""
    longer = max(image.size)
    if longer <= ENLARGED_SIDE:
        times = max(1, min(side, ENLARGED_SIDE) // longer)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = tuple(max(1, round(length * min(1.0, side / longer))) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    bare = Image.frombytes("RGB", image.size, image.tobytes())  # leaves behind what else the file held
    stream = io.BytesIO()
    bare.save(stream, format="JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def _name(sha256: str) -> str:
    return f"{sha256[:16]}.jpg"
