"""What a Preprocess may say: every problem as a line in terms of its JSON fields, with what to write instead."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgetl.core.errors import nearest

SPELLED_OUT = ("antialias", "rounding", "luma", "gray16")  # what a manifest says besides the fields, and what follows from them
UNUSABLE = "preprocessing that cannot be used"
FILTER_NAMES = ("bilinear", "bicubic", "lanczos")
FITS = ("crop", "squash", "pad")
CHANNELS = {"RGB": 3, "gray": 1}
MOST_CHANNELS = 4  # of an image; a shape with more in front and no more behind has channels last
CHOICES = {"filter": FILTER_NAMES, "decode": ("full", "reduced"), "color": tuple(CHANNELS), "fit": FITS}
FIXED = {"background": "white", "exif": "transpose", "scale": "1/255", "layout": "NCHW", "dtype": "float32"}
SMALLEST_SIDE, LARGEST_SIDE, LARGEST_RESIZE = 8, 1024, 4096  # px
LEVELS = 255
LEAST_STD = 1 / LEVELS * 0.99  # a network that takes 0 to 255 has a std of 1/255
LEAST_USUAL_STD = 0.02  # of photos it is 0.2 to 0.3; 0.5 is a usual choice
FILL = 114  # the gray of ImageNet's mean color, with which letterboxes are usually filled
BITS = (8, 16)
FIXES = {
    ("color", "BGR"): (
        'Reverse the input channels of the first Conv (its weight w becomes w[:, ::-1]), write "color": "RGB", and mean and std in the '
        "order red, green, blue; or give an .npz that is already prepared"
    ),
    ("layout", "NHWC"): 'Write "NCHW", which is how images are handed over',
    (
        "scale",
        "1",
    ): 'For a network that takes 0 to 255 write "scale": "1/255", "mean": [0, 0, 0], "std": [0.003921569, 0.003921569, 0.003921569]',
}
GRAYS = ("l", "grey", "gray", "grayscale", "greyscale", "mono", "y")


def problems(said: Mapping[str, Any]) -> list[str]:
    """The problems in the fields of a Preprocess, one line each."""
    return [*_sizes(said), *_choices(said), *_colors(said), *_fill(said), *_bits(said)]


def unknown_and_missing(said: Mapping[str, Any], known: Sequence[str], needed: Sequence[str]) -> list[str]:
    """Fields that a Preprocess has not, and those that it cannot do without."""
    unknown = [f"{name}: unknown{nearest(str(name), known)}; known: {', '.join(known)}" for name in said if name not in known]
    return unknown + [f"{name}: missing" for name in needed if name not in said]


def shown(value: object) -> str:
    """A value as it stands in JSON, numbers with up to six digits."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


def pair(rectangle: int | Sequence[int]) -> tuple[int, int]:
    """Height and width; one number stands for both."""
    if isinstance(rectangle, int):
        return rectangle, rectangle
    height, width = rectangle
    return height, width


def _sizes(said: Mapping[str, Any]) -> Iterable[str]:
    size, resize = said["size"], said["resize"]
    good = _is_rectangle(size) and all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in pair(size))
    if not good:
        rectangle = "" if _is_rectangle(size) else ", one number or [height, width]"
        yield f"size: expected {SMALLEST_SIDE} to {LARGEST_SIDE} pixels{rectangle}, found {shown(size)}"
    if not _is_rectangle(resize):
        yield f"resize: expected pixels, one number or [height, width], found {shown(resize)}"
    elif _is_rectangle(size) and any(side < least for side, least in zip(pair(resize), pair(size), strict=True)):
        yield f"resize: expected at least size ({shown(size)}), found {shown(resize)}"
    elif max(pair(resize)) > LARGEST_RESIZE:
        yield f"resize: expected at most {LARGEST_RESIZE} pixels, found {shown(resize)}"


def _choices(said: Mapping[str, Any]) -> Iterable[str]:
    for name, allowed in {**CHOICES, **{name: (only,) for name, only in FIXED.items()}}.items():
        value = said[name]
        if not (isinstance(value, str) and value in allowed):
            yield f"{name}: expected {_either(allowed)}, found {shown(value)}{_advice(name, value, allowed)}"


def _either(allowed: Sequence[str]) -> str:
    *others, last = map(shown, allowed)
    return f"{', '.join(others)} or {last}" if others else last


def _advice(name: str, value: object, allowed: Sequence[str]) -> str:
    meant = ["gray"] if name == "color" and str(value).lower() in GRAYS else [a for a in allowed if a.lower() == str(value).lower()]
    if meant:
        return f". Write {shown(meant[0])}"
    found = FIXES.get((name, str(value).upper()))
    return f". {found}" if found else ""


def _colors(said: Mapping[str, Any]) -> Iterable[str]:
    count = CHANNELS.get(said["color"], 3) if isinstance(said["color"], str) else 3
    numbers = {name: said[name] for name in ("mean", "std")}
    wrong = [name for name, values in numbers.items() if not _are_numbers(values, count)]
    for name in wrong:
        words = f"{'one number' if count == 1 else 'three numbers'} for the color {shown(said['color'])}"
        yield f"{name}: expected {words}, found {shown(numbers[name])}"
    if not wrong:
        yield from _units(numbers["mean"], numbers["std"])


def _units(mean: Sequence[float], std: Sequence[float]) -> Iterable[str]:
    """Pixel values are divided by 255 before, so a mean lies in [0, 1], and no std of such values is above 1."""
    divided = {}
    if 1 < max(mean) <= LEVELS and min(mean) >= 0:
        divided["mean"] = mean
    if min(std) > 0 and max(std) <= LEVELS and (max(std) > 1 or (max(std) == 1 and divided)):
        divided["std"] = std
    if divided:
        write = ", ".join(f'"{name}": {shown([value / LEVELS for value in values])}' for name, values in divided.items())
        yield f"{_each(divided)} in units of 0 to 255. Divided by 255: write {write}"
    if "mean" not in divided and not 0 <= min(mean) <= max(mean) <= 1:
        yield f"mean: expected 0 to 1, since pixel values are divided by 255 before, found {shown(mean)}"
    if "std" not in divided and not LEAST_STD <= min(std) <= max(std) <= 1:
        twice = f". Was it divided by 255 twice? Times 255 it is {shown([s * LEVELS for s in std])}" if 0 < max(std) < LEAST_STD else ""
        yield f"std: expected 1/255 (0.00392157) to 1, since pixel values are divided by 255 before, found {shown(std)}{twice}"


def _each(divided: Mapping[str, Sequence[float]]) -> str:
    listed = " and ".join(map(shown, divided.values()))
    return f"{', '.join(divided)}: {listed} {'is' if len(divided) == 1 else 'are'}"


def _fill(said: Mapping[str, Any]) -> Iterable[str]:
    fit, fill = said["fit"], said["fill"]
    if fit == "pad" and not (_is_whole(fill) and 0 <= fill <= LEVELS):
        yield f"fill: expected the gray level of the bands that pad adds, 0 to {LEVELS} (edgetl's own is {FILL}), found {shown(fill)}"
    if fit in FITS and fit != "pad" and fill is not None:
        yield f'fill: expected none where "fit" is {shown(fit)}, found {shown(fill)}'


def _bits(said: Mapping[str, Any]) -> Iterable[str]:
    bits, (least, most) = said["bits"], BITS
    if bits is not None and not (_is_whole(bits) and least <= bits <= most):
        yield f"bits: expected how many bits of 16-bit files are filled, {least} to {most}, found {shown(bits)}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rectangle(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_whole, value)))


def _are_numbers(values: object, count: int) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    )
