"""Plots are pure: numbers in, figure out. No pyplot, no state that outlives a call.

Ink and grid are placeholders that `svg` turns into the colors of the page, so that one drawing suits light, dark and
paper. Colors: Okabe & Ito 2008, "Color Universal Design", told apart with every common color vision.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgetl.report.schema import DropParity, ModelReport
from edgetl.report.text import allowed, milliseconds, percent, size

INK, FAINT = "#010203", "#040506"  # placeholders, see `svg`
COLORS: Mapping[str, str] = {"teacher": "#0072b2", "student": "#009e73", "float ONNX": "#e69f00", "int8 ONNX": "#d55e00"}
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
WIDTH = 3.7  # inches: a third of a page, or a phone
MOST_NUMBERED, MOST_LABELLED = 14, 30  # classes whose cells carry numbers, whose rows carry names
LONGEST_NAME = 16  # characters

Row = Mapping[str, float]


def score_figure(models: Sequence[tuple[str, ModelReport]], metric: str) -> Figure:
    """The score of each model, in percent, with its 95% interval."""
    figure, axes = _rows([label for label, _ in models])
    for row, (label, model) in enumerate(models):
        low, high = model.score_ci95
        axes.plot([100 * low, 100 * high], [row, row], color=_color(label), linewidth=3, solid_capstyle="round", alpha=0.55)
        axes.plot([100 * model.score], [row], marker="o", markersize=8, color=_color(label))
        _note(axes, 100 * model.score, row, percent(model.score), above=True)
    axes.set_xlabel(f"{metric}, %")
    axes.margins(x=0.12)
    return figure


def size_figure(models: Sequence[tuple[str, ModelReport]]) -> Figure:
    """The file size of each model, in kB or MB."""
    unit, scale = ("MB", 1e6) if max(model.size_bytes for _, model in models) >= 1e6 else ("kB", 1e3)
    figure, axes = _rows([label for label, _ in models])
    for row, (label, model) in enumerate(models):
        axes.barh(row, model.size_bytes / scale, height=0.5, color=_color(label))
        _note(axes, model.size_bytes / scale, row, size(model.size_bytes))
    axes.set_xlabel(f"ONNX file, {unit}")
    axes.set_xlim(0, 1.28 * max(model.size_bytes for _, model in models) / scale)
    return figure


def latency_figure(models: Sequence[tuple[str, ModelReport]]) -> Figure | None:
    """Milliseconds for one image: bar to the median, line to the 90th percentile. None where nothing was measured."""
    timed = [(label, model.latency_ms) for label, model in models if model.latency_ms]
    if not timed:
        return None
    figure, axes = _rows([label for label, _ in timed])
    for row, (label, latency) in enumerate(timed):
        axes.barh(row, latency.p50, height=0.5, color=_color(label))
        axes.plot([latency.p50, latency.p90], [row, row], color=INK, linewidth=1.2, marker="|", markersize=7)
        _note(axes, latency.p90, row, milliseconds(latency.p50))
    axes.set_xlabel("latency of one image, ms")
    axes.set_xlim(0, 1.28 * max(latency.p90 for _, latency in timed))
    return figure


def drop_figure(drops: Sequence[tuple[str, DropParity]]) -> Figure:
    """Each measured drop in percentage points with its paired 95% interval, and the budget it must stay within."""
    figure, axes = _rows([label for label, _ in drops])
    for row, (_, parity) in enumerate(drops):
        low, high = parity.drop_ci95
        color = ORANGE if parity.verdict == "failed" else BLUE
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=3, solid_capstyle="round", alpha=0.55)
        axes.plot([100 * parity.drop], [row], marker="o", markersize=8, color=color)
        axes.plot([100 * parity.max_drop] * 2, [row - 0.32, row + 0.32], color=INK, linewidth=2)
        _note(axes, 100 * parity.max_drop, row - 0.34, f"budget {allowed(parity.max_drop)}", above=True)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_xlabel("drop, percentage points")
    axes.margins(x=0.12)
    return figure


def curves_figure(rows: Sequence[Row]) -> Figure | None:
    """Loss and val score against the epoch, from the rows of a training log. None where there are none."""
    if not rows:
        return None
    figure = _figure(3.4)
    above, below = figure.subplots(2, 1, sharex=True)
    _line(above, rows, "loss", "train", BLUE, "-")
    _line(above, rows, "val_loss", "val", ORANGE, "--")
    above.set_ylabel("loss")
    above.legend(frameon=False, fontsize=9, labelcolor=INK)
    _line(below, rows, "val_score", "val", GREEN, "-", scale=100)
    best = max(rows, key=lambda row: row["val_score"])
    below.plot([best["epoch"]], [100 * best["val_score"]], marker="o", markersize=7, color=GREEN)
    _note(below, best["epoch"], 100 * best["val_score"], f"highest {percent(best['val_score'])}", below=True)
    below.set_ylabel("val score, %")
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    for axes in (above, below):
        _style(axes)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
    return figure


def confusion_figure(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Images by true class (rows) and answer (columns); the shade is the share of the true class. Any number of classes."""
    counts = np.array(matrix, dtype=np.float64)
    shares = np.divide(counts, counts.sum(axis=1, keepdims=True), out=np.zeros_like(counts), where=counts.sum(axis=1, keepdims=True) > 0)
    side = float(np.clip(1.8 + 0.26 * len(classes), 3.2, 6.0))
    figure = _figure(side * 0.94, side)
    axes = figure.subplots()
    axes.imshow(_shaded(shares), interpolation="none")
    if len(classes) <= MOST_NUMBERED:
        _numbers(axes, counts, shares)
    _class_ticks(axes, classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    _style(axes)
    return figure


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element to put into a page; ink and grid follow the page's colors. Equal figures give equal text."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "edgetl", "svg.fonttype": "none", "svg.image_inline": True}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the reader's browser has other fonts
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        r'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="\1" aria-hidden="true">',
        text,
        count=1,
    )
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # ids repeat from figure to figure
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    return text.replace(INK, "currentColor").replace(FAINT, "var(--line)").strip()


def _figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def _rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes with a named row for each label, first on top."""
    figure = _figure(0.85 + 0.42 * len(labels))
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.45, -0.65)
    axes.tick_params(axis="y", length=0)
    _style(axes)
    axes.grid(visible=True, axis="x", color=FAINT, linewidth=0.7)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    return figure, axes


def _style(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(FAINT)


def _note(axes: Axes, x: float, y: float, text: str, *, above: bool = False, below: bool = False) -> None:
    """A value beside, above or below a point."""
    offset, align, vertical = (6, 0), "left", "center"
    if above or below:
        offset, align, vertical = (0, 6 if above else -7), "center", "bottom" if above else "top"
    axes.annotate(text, (x, y), xytext=offset, textcoords="offset points", ha=align, va=vertical, fontsize=9, color=INK, parse_math=False)


def _line(axes: Axes, rows: Sequence[Row], key: str, label: str, color: str, style: str, scale: float = 1) -> None:
    found = [(row["epoch"], scale * row[key]) for row in rows if key in row]
    marker = "." if len(found) < 3 else None
    axes.plot([x for x, _ in found], [y for _, y in found], style, color=color, label=label, linewidth=1.8, marker=marker)


def _shaded(shares: np.ndarray) -> np.ndarray:
    """Shares [k, k] in [0, 1] -> RGBA [k, k, 4]: blue for right answers, orange for wrong ones, clear for none."""
    image = np.zeros((*shares.shape, 4))
    image[..., :3] = to_rgb(ORANGE)
    np.einsum("iic->ic", image)[:, :3] = to_rgb(BLUE)
    image[..., 3] = np.where(shares > 0, 0.12 + 0.88 * np.sqrt(shares), 0)  # the square root lifts rare confusions
    return image


def _numbers(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), number in np.ndenumerate(counts):
        if number:
            color = "#ffffff" if shares[row, column] > 0.35 else INK
            axes.text(column, row, f"{int(number)}", ha="center", va="center", fontsize=8, color=color)


def _class_ticks(axes: Axes, classes: Sequence[str]) -> None:
    """Names where they can be read, else the index of every tenth class."""
    if len(classes) <= MOST_LABELLED:
        names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in classes]
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    else:
        ticks = range(0, len(classes), 10 if len(classes) <= 200 else 100)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)


def _color(label: str) -> str:
    return COLORS.get(label, BLUE)
