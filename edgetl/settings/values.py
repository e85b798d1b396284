"""The kinds of values that settings of several stages share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Target = Literal["x86", "x86-avx2", "arm64", "web", "portable"]
Resize = Literal["crop", "squash", "pad"]
RESIZE_WORDS = "How a photo becomes square: crop (the center), squash (change the aspect ratio), or pad (add bands)."
Fraction = Annotated[float, Field(ge=0.0, le=0.2)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def epochs_within(wanted: int | None, images: int, *, views: int, least: int, most: int) -> int:
    """`wanted`, or so many epochs that `views` images are seen in all, within bounds."""
    return max(least, min(most, round(views / max(1, images)))) if wanted is None else wanted
