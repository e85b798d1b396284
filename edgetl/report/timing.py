"""How long one image takes, and how far that is to be relied on: part of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from edgetl.report.numbers import Count, Exact, Milliseconds, Share


@dataclass(frozen=True, kw_only=True)
class LatencyReport(Exact):
    """One image at a time under onnxruntime's CPU provider: quantiles in milliseconds, on the CPU of that name.

    Attributes:
        spread: how far the medians of the turns lie apart, as a fraction of the lowest.
        loop_ms: of a round of always the same work on that CPU, before and after.
        busy: the share of that work's time that other work had the CPU.
        moved: whether the measurement moved by more than a tenth.
    """

    p50: Milliseconds
    p90: Milliseconds
    threads: Count
    runs: Count
    cpu: str | None = None
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    loop_ms: tuple[Milliseconds, Milliseconds] | None = None
    busy: Share | None = None
    moved: bool | None = None
