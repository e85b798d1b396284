"""Preprocess: from the bytes of an image to the tensor a network was trained on.

One value; Pillow and numpy only. Training's evaluation transform, calibration, verification, the manifest and the sample code of the
bundle all derive from it. The order is: decode, EXIF orientation, color, resize, center crop, scale, normalize, layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgetl.core.canonical import ADDED, key_fields
from edgetl.core.errors import InputError, SettingsError
from edgetl.core.imagefile import decode
from edgetl.core.preprocess_rules import CHANNELS, FILL, LEAST_USUAL_STD, SPELLED_OUT, UNUSABLE, pair, problems, shown, unknown_and_missing

Resizing = Literal["crop", "squash", "pad"]
Rectangle = int | tuple[int, int]  # height and width, pixels; one number stands for both

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DECODED_TIMES = 2  # a picture decoded at reduced size stays at least so many times larger than it will be: the antialiased resize decides
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes the input of a network.

    Attributes:
        size: height and width of the input, pixels; one number stands for both.
        resize: height and width of the rectangle that the image is brought to before `size` is cropped from its center, pixels.
        fit: how. "crop": resized until it just covers `resize`, so that one side reaches beyond (the shorter side is then `resize`,
            where that is a square; the longer one is `int(resize * longer / shorter)`, as torchvision rounds). "squash": both sides
            resized to `resize`, whatever its shape was. "pad": resized until it just lies within `resize`, bands of `fill` beside it.
        fill: the gray level of those bands, 0 to 255; None where there are none.
        filter: Pillow's resampling filter; Pillow's filters always antialias when they shrink.
        mean, std: per channel, in units of [0, 1] pixel values.
        decode: "reduced" decodes JPEG at a half, a quarter or an eighth of its size: the smallest of them whose sides are whole
            numbers, the shorter one at least twice `resize` (its longer side). About three times quicker at 12 megapixels; pixels
            differ by a quarter of a level on average. "full" decodes every pixel, which is what published weights were evaluated with.
        background: what shows through transparent pixels.
        color: "RGB", or "gray" for one channel (ITU-R 601-2 luma, as Pillow's "L").
        bits: how many bits of gray files of 16 bits are filled, 8 to 16. None: nobody has said so; read as 16.
        exif, scale, layout, dtype: fixed today, written down so that a reader need not guess.
    """

    size: Rectangle
    resize: Rectangle
    filter: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    decode: Literal["full", "reduced"] = "full"
    background: Literal["white"] = "white"
    color: Literal["RGB", "gray"] = "RGB"
    exif: Literal["transpose"] = "transpose"
    scale: Literal["1/255"] = "1/255"
    layout: Literal["NCHW"] = "NCHW"
    dtype: Literal["float32"] = "float32"
    fit: Resizing = field(default="crop", metadata=ADDED)
    fill: int | None = field(default=None, metadata=ADDED)
    bits: int | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        """Raise SettingsError naming everything that is wrong."""
        if wrong := problems(vars(self)):
            raise SettingsError(f"{UNUSABLE}:\n  " + "\n  ".join(wrong))

    @property
    def channels(self) -> int:
        """3, or 1 of gray."""
        return CHANNELS[self.color]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        return (self.channels, *pair(self.size))

    @property
    def side(self) -> int:
        """Height and width of a square input, pixels.

        Raises:
            InputError: another rectangle.
        """
        height, width = pair(self.size)
        if height != width:
            raise InputError(f"expected a square input, found {height} x {width} pixels. edgetl trains networks with square inputs only")
        return height

    def at(self, size: int) -> Preprocess:
        """The same for another square input; the share that the crop cuts off stays."""
        return replace(self, size=size, resize=max(size, round(max(pair(self.resize)) * size / self.side)))

    def quick(self) -> Preprocess:
        """The same with images decoded at reduced size where that is possible."""
        return replace(self, decode="reduced")

    def fitted(self, fit: Resizing) -> Preprocess:
        """The same with images brought to the input's shape in another way; to squash or to pad leaves nothing to be cropped."""
        if fit == self.fit:
            return self
        return replace(self, fit=fit, resize=self.resize if fit == "crop" else self.size, fill=FILL if fit == "pad" else None)

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """Decoded, resized and cropped: uint8 [height, width, channels]."""
        return self.crop(self.uncropped(data))

    def uncropped(self, data: bytes) -> NDArray[np.uint8]:
        """Decoded and resized: uint8 [height, width, channels], at least as large as `resize`."""
        return self.resized(self.decoded(data))

    def decoded(self, data: bytes) -> Image.Image:
        """The picture before anything is resized: upright, in the network's colors; JPEG at reduced size where `decode` says so."""
        shorter = DECODED_TIMES * max(pair(self.resize)) if self.decode == "reduced" else None
        return self._colored(decode(data, shorter=shorter, bits=self.bits))

    def _colored(self, image: Image.Image) -> Image.Image:
        return image.convert("L") if self.color == "gray" else image

    def picture(self, data: bytes) -> NDArray[np.uint8]:
        """`decoded` as uint8 [height, width, channels]."""
        return np.atleast_3d(np.asarray(self.decoded(data), dtype=np.uint8))

    def resized(self, image: Image.Image) -> NDArray[np.uint8]:
        """`image` covering `resize`, or just as large, as `fit` says: uint8 [height, width, channels]."""
        size, image = self.scaled(*image.size), self._colored(image)
        if size != image.size:
            image = image.resize(size, FILTERS[self.filter])
        pixels = np.atleast_3d(np.asarray(image, dtype=np.uint8))
        return self._banded(pixels) if self.fit == "pad" else pixels

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image of that width and height once it is resized, without the bands of "pad"."""
        rows, columns = pair(self.resize)
        taller = height * columns >= width * rows
        match self.fit:
            case "squash":
                return columns, rows
            case "crop":
                return (columns, int(columns * height / width)) if taller else (int(rows * width / height), rows)
            case "pad":
                return (max(1, round(rows * width / height)), rows) if taller else (columns, max(1, round(columns * height / width)))

    def _banded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`pixels` in the middle of `resize`; offsets round as those of `crop`."""
        rows, columns = pair(self.resize)
        height, width, channels = pixels.shape
        top, left = round((rows - height) / 2), round((columns - width) / 2)
        canvas = np.full((rows, columns, channels), self.fill, dtype=np.uint8)
        canvas[top : top + height, left : left + width] = pixels
        return canvas

    def crop(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The center of the size of the input: uint8 [height, width, channels]; offsets round half to even, as torchvision."""
        height, width = pair(self.size)
        top = round((pixels.shape[0] - height) / 2)
        left = round((pixels.shape[1] - width) / 2)
        return pixels[top : top + height, left : left + width]

    def share_kept(self, width: int, height: int) -> float:
        """The share of the area of an image of that width and height that the network gets to see, in (0, 1]."""
        scaled_width, scaled_height = self.scaled(width, height)
        rows, columns = pair(self.size)
        return min(rows, scaled_height) * min(columns, scaled_width) / (scaled_width * scaled_height)

    def doubt(self) -> str | None:
        """A doubt about an unusual value; None if there is none."""
        if min(self.std) >= LEAST_USUAL_STD:
            return None
        largest = max((1 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))
        return f"std {shown(self.std)} is small: inputs reach up to {largest:.0f}, which is right only for a network that was trained so"

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [..., height, width, channels] -> float32 [..., channels, height, width]."""
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(values, -1, -3))

    def __call__(self, data: bytes) -> NDArray[np.float32]:
        """The bytes of an image file -> float32 [channels, height, width].

        Raises:
            InputError: the bytes are no image that Pillow can decode.
        """
        return self.normalize(self.pixels(data))

    def fields(self) -> dict[str, Any]:
        """The fields as plain JSON values; those that came later only where they say something."""
        return {f.name: getattr(self, f.name) for f in key_fields(self)}

    def to_json(self) -> str:
        """One line of JSON, which `from_json` reads."""
        return json.dumps(self.fields(), sort_keys=True)

    @staticmethod
    def from_fields(said: Mapping[str, Any]) -> Preprocess:
        """The value whose fields JSON gave; what a manifest adds to them follows from the others.

        Raises:
            SettingsError: fields unknown, missing or out of range; a line each.
        """
        said = {name: value for name, value in said.items() if name not in SPELLED_OUT}
        names = [f.name for f in fields(Preprocess)]
        needed = [f.name for f in fields(Preprocess) if f.default is MISSING]
        if wrong := unknown_and_missing(said, names, needed):
            raise SettingsError(f"{UNUSABLE}:\n  " + "\n  ".join(wrong))
        given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
        for name in ("mean", "std"):
            if name in given:
                given[name] = _per_channel(given[name], given.get("color"))
        return Preprocess(**given)

    @staticmethod
    def from_json(text: str) -> Preprocess:
        """The value that `to_json` wrote.

        Raises:
            InputError: not JSON, fields unknown or missing, or values out of range.
        """
        expected = "expected preprocessing as JSON (size, resize, filter, mean, std)"
        try:
            said = json.loads(text)
        except ValueError as error:
            raise InputError(f"{expected}, found text that is not JSON: {text[:80]!r}") from error
        if not isinstance(said, dict):
            raise InputError(f"{expected}, found no JSON object {{...}}: {text[:80]!r}")
        try:
            return Preprocess.from_fields(said)
        except SettingsError as error:
            raise InputError(f"{expected}, found {error}") from error


def _per_channel(values: Any, color: object) -> Any:
    """A number as one channel's; of gray, three equal numbers as one."""
    if isinstance(values, int | float):
        return (values,)
    gray_thrice = color == "gray" and isinstance(values, tuple) and len(values) == 3 and all(value == values[0] for value in values)
    return values[:1] if gray_thrice else values


def imagenet(size: int = 224, resize: int | None = None) -> Preprocess:
    """ImageNet's usual evaluation transform: shorter side to 256/224 of `size`, center crop, ImageNet mean and std."""
    return Preprocess(size=size, resize=round(size * 256 / 224) if resize is None else resize)
