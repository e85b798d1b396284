"""The fingerprint of an image: a perceptual hash, a thumbnail, and the time of the photo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import imagehash
from PIL import Image

from edgetl.data.thumbs import thumb_of

HASH_SIDE = 16  # the hash has 16 x 16 bits
EXIF_IFD, DATE_TIME_ORIGINAL = 0x8769, 0x9003


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A perceptual hash, a thumbnail, and the time of the photo.

    Attributes:
        bits: the perceptual hash, 64 hexadecimal digits.
        taken: seconds since 1970 of the camera's own clock, from EXIF; None where the file does not say.
        thumb: the thumbnail as `thumb_of` gives it; empty if only the hash is known.
    """

    bits: str
    taken: int | None = None
    thumb: str = ""


def look_of(image: Image.Image) -> Fingerprint:
    """The look of a decoded image; `image` still carries the EXIF data of its file, if that had any."""
    return Fingerprint(bits=str(imagehash.phash(image, hash_size=HASH_SIDE)), taken=taken_at(image), thumb=thumb_of(image))


def taken_at(image: Image.Image) -> int | None:
    """When the photo was taken (EXIF DateTimeOriginal), as seconds of the camera's clock."""
    try:
        said = image.getexif().get_ifd(EXIF_IFD).get(DATE_TIME_ORIGINAL)
        return round((datetime.strptime(str(said), "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)).total_seconds())
    except Exception:  # whatever a damaged or foreign EXIF block makes Pillow say: the time is a hint, no more
        return None
