"""Bars, intervals and budgets as plain numbers for the page to draw: places in percent of the chart's width, every axis with its unit.

The page draws them with its own text, so that they follow its font, its width and its colors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetl.report.schema import DropParity
from edgetl.report.text import NamedModel
from edgetl.report.units import allowed, milliseconds, points, score_of, size

AXIS_TIMES = 1.04  # of the axis beyond the largest value
LEAST_STEPS = 3  # between ticks; at most twice as many


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One row. Places are percent of the width.

    Attributes:
        label: whose it is.
        tone: the name of its color in the page's style.
        value: what it shows, in words.
        bar: where a bar ends that begins at the left edge.
        span: where an interval begins and ends.
        dot: where the measured value lies.
        limit: where the budget lies.
    """

    label: str
    tone: str
    value: str
    bar: float | None = None
    span: tuple[float, float] | None = None
    dot: float | None = None
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Rows over one axis.

    Attributes:
        title: what is shown.
        unit: of the axis.
        ticks: (place in percent, number) along the axis.
        zero: where 0 lies, if it is not the left edge.
    """

    title: str
    unit: str
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None = None

    @property
    def words(self) -> str:
        """The chart for those who cannot see it."""
        return f"{self.title}: {'; '.join(f'{lane.label} {lane.value}' for lane in self.lanes)}."


def size_chart(models: Sequence[NamedModel]) -> Chart:
    """The file size of each model, in kB or MB."""
    unit, scale = ("MB", 1e6) if max(model.size_bytes for _, _, model in models) >= 1e6 else ("kB", 1e3)
    axis = _Axis.over([0.0, *(model.size_bytes / scale for _, _, model in models)])
    lanes = tuple(
        Lane(label=label, tone=name, value=size(model.size_bytes), bar=axis.place(model.size_bytes / scale))
        for name, label, model in models
    )
    return Chart(title="Size of the file", unit=unit, lanes=lanes, ticks=axis.ticks())


def latency_chart(models: Sequence[NamedModel]) -> Chart | None:
    """Milliseconds for one image: bar to the median, line to the 90th percentile. None where nothing was measured."""
    timed = [(name, label, model.latency_ms) for name, label, model in models if model.latency_ms]
    if not timed:
        return None
    axis = _Axis.over([0.0, *(latency.p90 for _, _, latency in timed)])
    lanes = tuple(
        Lane(
            label=label,
            tone=name,
            value=milliseconds(latency.p50),
            bar=axis.place(latency.p50),
            span=(axis.place(latency.p50), axis.place(latency.p90)),
        )
        for name, label, latency in timed
    )
    return Chart(title="Time for one image", unit="ms", lanes=lanes, ticks=axis.ticks())


def score_chart(models: Sequence[NamedModel], metric: str, images: int) -> Chart:
    """The score of each model in percent, with its 95% interval; of few `images`, how many are right."""
    axis = _Axis.over([100 * edge for _, _, model in models for edge in model.score_ci95])
    lanes = tuple(
        Lane(
            label=label,
            tone=name,
            value=score_of(model.score, images),
            span=(axis.place(100 * model.score_ci95[0]), axis.place(100 * model.score_ci95[1])),
            dot=axis.place(100 * model.score),
        )
        for name, label, model in models
    )
    return Chart(title=f"Right answers ({metric})", unit="%", lanes=lanes, ticks=axis.ticks())


def drop_chart(drops: Sequence[tuple[str, DropParity]]) -> Chart:
    """Each measured drop in percentage points with its paired 95% interval, and the budget it must stay within."""
    edges = [100 * edge for _, parity in drops for edge in (*parity.drop_ci95, parity.max_drop)]
    axis = _Axis.over([0.0, *edges])
    lanes = tuple(
        Lane(
            label=label,
            tone="failed" if parity.verdict == "failed" else "onnx_int8",
            value=f"{points(parity.drop)} of {allowed(parity.max_drop)} allowed",
            span=(axis.place(100 * parity.drop_ci95[0]), axis.place(100 * parity.drop_ci95[1])),
            dot=axis.place(100 * parity.drop),
            limit=axis.place(100 * parity.max_drop),
        )
        for label, parity in drops
    )
    return Chart(title="Drop", unit="percentage points", lanes=lanes, ticks=axis.ticks(), zero=axis.place(0.0))


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    @staticmethod
    def over(values: Sequence[float]) -> _Axis:
        """An axis that holds `values`; it begins at 0 where they do, and has room at every other end."""
        low, high = min(values), max(values)
        width = (high - low) or max(abs(high), 1.0)
        return _Axis(low if low == 0 else low - (AXIS_TIMES - 1) * width, high + (AXIS_TIMES - 1) * width)

    def place(self, value: float) -> float:
        """Percent of the width, to a tenth."""
        return round(100 * (value - self.low) / (self.high - self.low), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round numbers along the axis."""
        step = _round_step((self.high - self.low) / LEAST_STEPS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple((self.place(count * step), f"{count * step:.6g}") for count in range(first, last + 1))


def _round_step(rough: float) -> float:
    """The largest of 1, 2, 2.5, 5, 10, ... times a power of ten that is not above `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in (10, 5, 2.5, 2, 1) if nice * power <= rough * (1 + 1e-9))
