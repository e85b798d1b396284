"""Whether golden images show the mistakes of ports: one that no image shows would pass every check of the bundle.

Gray pictures look alike with red and blue exchanged, square ones squashed or cropped, small ones with or without antialias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgetl.bundle.drawn_picture import draw
from edgetl.core.preprocess import Preprocess, Resizing

Mistake = Literal["blue before red", "no antialias", "another fit"]
MISTAKES: frozenset[Mistake] = frozenset({"blue before red", "no antialias", "another fit"})
SHOWN_LEVELS = 6  # of 255: a difference that is well beyond what any step of the golden vectors may be off


def showing_mistakes(images: Sequence[tuple[bytes, str]], preprocess: Preprocess) -> list[tuple[bytes, str]]:
    """The images, each with its suffix, if they show each mistake; else with a drawn one for the last, or beside the only one."""
    hidden = set(MISTAKES)
    for data, _ in images:
        if hidden:
            hidden -= set(shown_by(data, preprocess))
    if not hidden or not images:
        return list(images)
    kept = images[:-1] if len(images) > 1 else images
    return [*kept, (draw(preprocess), ".png")]


def not_drawn(images: Sequence[bytes], preprocess: Preprocess) -> NDArray[np.bool_]:
    """Which of the image files edgetl did not draw, bool [n]; all, if it drew all of them."""
    drawn = draw(preprocess)
    own = np.array([data != drawn for data in images])
    return own if own.any() else np.ones_like(own)


def shown_by(data: bytes, preprocess: Preprocess) -> Iterator[Mistake]:
    """The mistakes that change what becomes of an image file by more than SHOWN_LEVELS.

    Raises:
        InputError: it cannot be decoded.
    """
    colored = replace(preprocess, color="RGB", mean=(0.0,) * 3, std=(1.0,) * 3).decoded(data)
    swapped = Image.fromarray(np.ascontiguousarray(np.asarray(colored)[..., ::-1]))
    if preprocess.color == "gray":
        colored, swapped = colored.convert("L"), swapped.convert("L")
    right = preprocess.crop(preprocess.resized(colored))
    if _differ(np.asarray(colored), np.asarray(swapped)):
        yield "blue before red"
    size = preprocess.scaled(*colored.size)
    if size[0] < colored.width and size[1] < colored.height:
        factors = (colored.width / size[0], 0, 0, 0, colored.height / size[1], 0)
        coarse = colored.transform(size, Image.Transform.AFFINE, factors, Image.Resampling.BILINEAR)
        if _differ(right, preprocess.crop(preprocess.resized(coarse))):
            yield "no antialias"
    other: Resizing = "crop" if preprocess.fit == "squash" else "squash"
    if _differ(right, preprocess.crop(replace(preprocess, fit=other, fill=None).resized(colored))):
        yield "another fit"


def _differ(right: NDArray[Any], wrong: NDArray[Any]) -> bool:
    return right.shape != wrong.shape or bool(np.abs(right.astype(np.int16) - wrong).max() > SHOWN_LEVELS)
