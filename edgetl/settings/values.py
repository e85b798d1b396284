"""The kinds of values that settings of several stages share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

Target = Literal["x86", "x86-avx2", "arm64", "web", "portable"]
Resize = Literal["crop", "squash", "pad"]
WhenUndecided = Literal["measured", "float", "int8"]
Fraction = Annotated[float, Field(ge=0.0, le=0.2)]
Score = Annotated[float, Field(gt=0, le=1)]
MinPrecision = Annotated[float, Field(ge=0.5, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ImageSize = Annotated[int, Field(ge=16, le=512)]
NumberOfFolds = Annotated[int, Field(ge=2, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def default_words(field: FieldInfo) -> str:
    """` [default: 0.05]`, for the help of an option; empty where there is none, and the description says what happens instead."""
    usual = field.default if not isinstance(field.default, bool) else "yes" if field.default else "no"
    return "" if usual is None else f" [default: {usual}]"


def epochs_within(wanted: int | None, images: int, *, views: int, least: int, most: int) -> int:
    """`wanted`, or so many epochs that `views` images are seen in all, within bounds."""
    return max(least, min(most, round(views / max(1, images)))) if wanted is None else wanted
