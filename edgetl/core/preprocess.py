"""Preprocess: from the bytes of an image to the tensor a network was trained on.

One value; Pillow and numpy only. Training's evaluation transform, calibration, verification, the manifest and
the sample code of the bundle all derive from it. The order is: decode, EXIF orientation, color, resize,
center crop, scale, normalize, layout.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgetl.core.errors import InputError, SettingsError
from edgetl.core.imagefile import decode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ROOM = 2  # a picture decoded at reduced size stays at least so many times larger than it will be: the antialiased resize decides
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
FIXED = {"background": "white", "color": "RGB", "exif": "transpose", "scale": "1/255", "layout": "NCHW", "dtype": "float32"}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes the input of a network.

    Attributes:
        size: height and width of the input, pixels.
        resize: the shorter side after resizing, pixels, before a square of `size` is cropped from the center.
            The longer side is `int(resize * longer / shorter)`, as torchvision rounds.
        filter: Pillow's resampling filter; Pillow's filters always antialias when they shrink.
        mean, std: per channel (RGB), in units of [0, 1] pixel values.
        decode: "reduced" decodes JPEG at a half, a quarter or an eighth of its size: the smallest of them whose sides are whole
            numbers, the shorter one at least twice `resize`. About three times quicker at 12 megapixels; pixels differ by a
            quarter of a level on average. "full" decodes every pixel, which is what published weights were evaluated with.
        background: what shows through transparent pixels.
        color, exif, scale, layout, dtype: fixed today, written down so that a reader need not guess.
    """

    size: int
    resize: int
    filter: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    decode: Literal["full", "reduced"] = "full"
    background: Literal["white"] = "white"
    color: Literal["RGB"] = "RGB"
    exif: Literal["transpose"] = "transpose"
    scale: Literal["1/255"] = "1/255"
    layout: Literal["NCHW"] = "NCHW"
    dtype: Literal["float32"] = "float32"

    def __post_init__(self) -> None:
        """Raise SettingsError naming everything that is wrong."""
        wrong = []
        if not 8 <= self.size <= 1024:
            wrong.append(f"size: expected 8 to 1024 pixels, found {self.size}")
        if self.resize < self.size:
            wrong.append(f"resize: expected at least size ({self.size}), found {self.resize}")
        if self.filter not in FILTERS:
            wrong.append(f"filter: expected one of {', '.join(FILTERS)}, found {self.filter!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            wrong.append(f"mean, std: expected three numbers each, std above 0; found {self.mean}, {self.std}")
        if self.decode not in ("full", "reduced"):
            wrong.append(f"decode: expected 'full' or 'reduced', found {self.decode!r}")
        for name, only in FIXED.items():
            if getattr(self, name) != only:
                wrong.append(f"{name}: expected {only!r}, found {getattr(self, name)!r}")
        if wrong:
            raise SettingsError("a Preprocess that cannot be used:\n  " + "\n  ".join(wrong))

    def at(self, size: int) -> Preprocess:
        """The same for another input size; the share that the crop cuts off stays."""
        return replace(self, size=size, resize=max(size, round(self.resize * size / self.size)))

    def quick(self) -> Preprocess:
        """The same with images decoded at reduced size where that is possible."""
        return replace(self, decode="reduced")

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """Decoded, resized and cropped: uint8 [size, size, 3] (RGB)."""
        return self.crop(self.uncropped(data))

    def uncropped(self, data: bytes) -> NDArray[np.uint8]:
        """Decoded and resized: uint8 [height, width, 3], the shorter side at `resize`."""
        return self.resized(decode(data, shorter=ROOM * self.resize if self.decode == "reduced" else None))

    def resized(self, image: Image.Image) -> NDArray[np.uint8]:
        """`image` with its shorter side at `resize`: uint8 [height, width, 3]."""
        width, height = image.size
        short, long = sorted((width, height))
        target_long = int(self.resize * long / short)
        size = (self.resize, target_long) if width <= height else (target_long, self.resize)
        if size != image.size:
            image = image.resize(size, FILTERS[self.filter])
        return np.asarray(image, dtype=np.uint8)

    def crop(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The center square: uint8 [height, width, 3] -> uint8 [size, size, 3]; offsets round half to even, as torchvision."""
        top = round((pixels.shape[0] - self.size) / 2)
        left = round((pixels.shape[1] - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [..., size, size, 3] -> float32 [..., 3, size, size]."""
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(values, -1, -3))

    def __call__(self, data: bytes) -> NDArray[np.float32]:
        """The bytes of an image file -> float32 [3, size, size].

        Raises:
            InputError: the bytes are no image that Pillow can decode.
        """
        return self.normalize(self.pixels(data))

    def to_json(self) -> str:
        """As one line of JSON; `from_json` reads it back."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Preprocess:
        """The value that `to_json` wrote.

        Raises:
            InputError: not JSON, unknown fields, or values out of range.
        """
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
            return Preprocess(**fields)
        except (ValueError, TypeError, AttributeError, SettingsError) as error:
            raise InputError(f"expected a Preprocess as JSON (size, resize, filter, mean, std), found {text[:80]!r}: {error}") from error


def imagenet(size: int = 224, resize: int | None = None) -> Preprocess:
    """ImageNet's usual evaluation transform: shorter side to 256/224 of `size`, center crop, ImageNet mean and std."""
    return Preprocess(size=size, resize=round(size * 256 / 224) if resize is None else resize)
