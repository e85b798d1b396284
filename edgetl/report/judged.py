"""The images that were judged on: part of `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgetl.report.numbers import Count, Exact

Seen = Literal["checked", "not checked", "waived"]


@dataclass(frozen=True, kw_only=True)
class ImageCounts(Exact):
    """Images in each part; `calibration` is a subset of `train`."""

    train: Count | None = None
    val: Count | None = None
    test: Count
    calibration: Count | None = None


@dataclass(frozen=True, kw_only=True)
class DataReport(Exact):
    """The images that were judged on; `intake` counts what was found on the way in (`edgetl.data.images.Intake`).

    Attributes:
        seen: whether it was checked that no model was trained, selected or calibrated on them; None in older reports.
        seen_reason: what the check could not see, or why there was none; in words.
    """

    name: str
    classes: tuple[str, ...]
    images: ImageCounts
    intake: Mapping[str, Count] | None = None
    seen: Seen | None = None
    seen_reason: str | None = None
