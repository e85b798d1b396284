"""Plots are pure: numbers in, figure out. No pyplot, no state that outlives a call.

What carries names from outside is drawn by the page itself (charts.py, tables.py): a browser has fonts for every
script. Ink and grid are stand-ins that `svg` turns into the colors of the page, so that one drawing suits light, dark
and paper. Colors: Okabe & Ito 2008, "Color Universal Design", told apart with every common color vision.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from edgetl.report.units import percent

INK, FAINT = "#010203", "#040506"  # see `svg`
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
WIDTH = 4.6  # inches: half a page, or a phone
NAMES_ACROSS, NAME_HEIGHT = 2, 0.22  # below a plot of networks; inches
CLOSE = 0.03  # of the width of a plot: a number of one digit

CurveRow = Mapping[str, float]


def curves_figure(rows: Sequence[CurveRow]) -> Figure | None:
    """Loss and val score against the epoch, from the rows of a training log. None where there are none."""
    if not rows:
        return None
    figure = _figure(WIDTH, 3.6)
    above, below = figure.subplots(2, 1, sharex=True)
    _line(above, rows, "loss", "train", BLUE, "-")
    _line(above, rows, "val_loss", "val", ORANGE, "--")
    above.set_ylabel("loss")
    above.legend(frameon=False, fontsize=9, labelcolor=INK)
    _line(below, rows, "val_score", "val", GREEN, "-", scale=100)
    best = max(rows, key=lambda row: row["val_score"])
    below.plot([best["epoch"]], [100 * best["val_score"]], marker="o", markersize=7, color=GREEN)
    below.set_title(f"highest {percent(best['val_score'])}, epoch {best['epoch']:g}", loc="right", fontsize=9, color=INK)
    below.set_ylabel("val score, %")
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    for axes in (above, below):
        _style(axes)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
    return figure


def confusion_figure(matrix: NDArray[np.int64]) -> Figure:
    """Images by true class (rows) and answer (columns), classes by number; the shade is the share of the true class."""
    figure = _figure(5.6, 5.6)
    axes = figure.subplots()
    axes.imshow(_shaded(shares(matrix)), interpolation="none")
    ticks = range(0, len(matrix), 10 if len(matrix) <= 200 else 100)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlabel("answer (number of the class)")
    axes.set_ylabel("true class (number of the class)")
    _style(axes)
    return figure


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One network on the plot: its int8 file in 1,000 bytes, its latency in ms, its score in [0, 1] and the standard error of the score."""

    name: str
    kb: float
    ms: float
    score: float
    standard_error: float


def frontier_figure(spots: Sequence[Spot], score: str) -> Figure:
    """Scores against bytes and against latency, and on each a line through those that none beats. Names, by number, stand below."""
    ranked = sorted(spots, key=lambda spot: (-spot.score, spot.kb))
    names = NAME_HEIGHT * math.ceil(len(ranked) / NAMES_ACROSS)
    figure = _figure(7.2, height := 3.4 + names)
    figure.set_layout_engine("none")
    bottom = (0.65 + names) / height
    left, right = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"left": 0.08, "right": 0.99, "top": 0.97, "bottom": bottom, "wspace": 0.06}
    )
    for axes, cost, label in (
        (left, [spot.kb for spot in ranked], "int8 file, kB"),
        (right, [spot.ms for spot in ranked], "int8, ms per image"),
    ):
        front = [i for i in range(len(ranked)) if all(cost[i] < cost[better] for better in range(i))]
        axes.plot([cost[i] for i in front], [100 * ranked[i].score for i in front], "-", color=BLUE, linewidth=1.2)
        for i, spot in enumerate(ranked):
            color, at = BLUE if i in front else ORANGE, (cost[i], 100 * spot.score)
            axes.errorbar(*at, yerr=100 * spot.standard_error, fmt="o", color=color, capsize=2, markersize=5)
        for together in _close(cost, [spot.score for spot in ranked]):
            at = (cost[together[0]], 100 * ranked[together[0]].score)
            words = ", ".join(str(i + 1) for i in together)
            axes.annotate(words, at, textcoords="offset points", xytext=(5, 4), fontsize=9, color=INK)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.margins(x=0.12)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        _style(axes)
    left.set_ylabel(score)
    for i, spot in enumerate(ranked):
        x, y = 0.08 + 0.92 / NAMES_ACROSS * (i % NAMES_ACROSS), bottom - (0.62 + NAME_HEIGHT * (i // NAMES_ACROSS)) / height
        figure.text(x, y, f"{i + 1}  {spot.name}", fontsize=8, color=INK)
    return figure


def _close(costs: Sequence[float], scores: Sequence[float]) -> list[list[int]]:
    """The spots, in groups of those that lie so close that their numbers would cover each other, each at the first of its group."""
    found: list[list[int]] = []
    wide = CLOSE * max(math.log(max(costs) / min(costs)), math.log(1.1)) if costs else 0.0
    high = 1.5 * CLOSE * max(max(scores) - min(scores), 0.1) if scores else 0.0
    for i, (cost, score) in enumerate(zip(costs, scores, strict=True)):
        near = (g for g in found if abs(math.log(cost / costs[g[0]])) <= wide and abs(score - scores[g[0]]) <= high)
        if (group := next(near, None)) is None:
            found.append([i])
        else:
            group.append(i)
    return found


def shares(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts [k, k] -> shares of each row in [0, 1]; 0 in rows without images."""
    counts = matrix.astype(np.float64)
    whole = counts.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0)
    return found


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element to put into a page; ink and grid follow the page's colors. Equal figures give equal text."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "edgetl", "svg.fonttype": "none", "svg.image_inline": True}):
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


def page_svg(figure: Figure) -> str:
    """The figure as a separate file, with the colors of the light theme."""
    drawing = svg(figure)
    for word, stands_for in (("currentColor", "#222"), ("var(--line)", "#bbb"), ("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')):
        drawing = drawing.replace(word, stands_for)
    return drawing


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def _style(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(FAINT)


def _line(axes: Axes, rows: Sequence[CurveRow], key: str, label: str, color: str, style: str, scale: float = 1) -> None:
    found = [(row["epoch"], scale * row[key]) for row in rows if key in row]
    marker = "." if len(found) < 3 else None
    axes.plot([x for x, _ in found], [y for _, y in found], style, color=color, label=label, linewidth=1.8, marker=marker)


def _shaded(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares [k, k] in [0, 1] -> RGBA [k, k, 4]: blue for right answers, orange for wrong ones, clear for none."""
    image = np.zeros((*shares.shape, 4))
    image[..., :3] = to_rgb(ORANGE)
    np.einsum("iic->ic", image)[:, :3] = to_rgb(BLUE)
    image[..., 3] = np.where(shares > 0, 0.12 + 0.88 * np.sqrt(shares), 0)  # the square root lifts rare confusions
    return image
