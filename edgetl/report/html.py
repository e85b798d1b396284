"""report.html: the certificate for people, one file that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from edgetl.report import figures, text
from edgetl.report.schema import ClassScores, DropParity, ModelReport, Report, read_report

Rows = Sequence[Mapping[str, float]]
WORST = 8  # confusions that are listed
HEADINGS = {"certified": "Certified", "passed": "Passed, not proven", "failed": "Failed"}
CURVE_KEYS = ("epoch", "loss", "val_loss", "val_score")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in the page: what it shows, in words, and the drawing."""

    caption: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """One model's confusion matrix, and its most frequent confusions as (true class, answer, images)."""

    label: str
    drawing: Drawing
    worst: tuple[tuple[str, str, int], ...]
    ships: bool


def render(report: Mapping[str, object], curves: Mapping[str, Rows]) -> str:
    """The text of report.html; sections whose models or curves are not given are left out.

    Args:
        report: the content of report.json.
        curves: stage -> rows of its training log with `epoch`, `loss`, `val_loss` and `val_score`.

    Raises:
        InputError: not a valid report.json.
    """
    read = read_report(report)
    models = list(text.models_of(read))
    return _template().render(
        r=read,
        t=text,
        heading=HEADINGS[read.verdict],
        words=_after_heading(text.verdict_of_report(read)),
        table=text.rows_of(read),
        models=models,
        tiles=_tiles(read, models),
        comparison=_comparison(read, models),
        drops=_drops(read),
        drop_drawing=_drop_drawing(read),
        per_class=_per_class(read, models),
        curves=_curves(curves),
        confusions=_confusions(read, models),
    )


@cache
def _template() -> Template:
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((files("edgetl.report") / "templates" / "report.html.jinja").read_text(encoding="utf-8"))


def _drawing(caption: str, figure: Figure | None) -> list[Drawing]:
    return [] if figure is None else [Drawing(caption=caption, svg=Markup(figures.svg(figure)))]  # matplotlib escapes its text


def _tiles(report: Report, models: Sequence[tuple[str, ModelReport]]) -> list[tuple[str, str]]:
    """The few numbers everybody asks for first: (value, what it is)."""
    ships = text.shipped_model(report)
    if ships is None or not models:
        return []
    label, first = models[0]
    tiles = [(text.percent(ships.score), f"{report.metric} of what ships")]
    if parity := text.deciding(report):
        lost = "gained" if parity.drop < 0 else "lost"
        tiles.append((text.points(abs(parity.drop)), f"points {lost} against the {text.sides(report)[1]}"))
    if first is not ships:
        tiles.append((text.ratio(first.size_bytes, ships.size_bytes), f"smaller than the {label}: {text.size(ships.size_bytes)}"))
        if ships.latency_ms and first.latency_ms:
            faster = text.ratio(first.latency_ms.p50, ships.latency_ms.p50)
            tiles.append((faster, f"faster than the {label}: {text.milliseconds(ships.latency_ms.p50)} an image"))
    return tiles


def _comparison(report: Report, models: Sequence[tuple[str, ModelReport]]) -> list[Drawing]:
    if not models:
        return []
    return [
        *_drawing(f"Score: {report.metric} and its 95% interval.", figures.score_figure(models, report.metric)),
        *_drawing("Size of the ONNX file.", figures.size_figure(models)),
        *_drawing("Latency: median, and a line to the 90th percentile.", figures.latency_figure(models)),
    ]


def _drops(report: Report) -> list[tuple[str, DropParity]]:
    named = (
        ("int8 against float", report.parity.int8),
        (f"{text.sides(report)[0]} against {text.sides(report)[1]}", report.parity.end_to_end),
    )
    return [(label, parity) for label, parity in named if parity]


def _drop_drawing(report: Report) -> list[Drawing]:
    drops = _drops(report)
    return _drawing(
        "Drop on the same images, its 95% interval, and the budget. Left of 0 is a gain.", figures.drop_figure(drops) if drops else None
    )


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Precision, recall and F1 of one model, and the F1 of the others, in percent."""

    label: str
    others: tuple[str, ...]
    rows: tuple[tuple[ClassScores, tuple[float, ...]], ...]


def _per_class(report: Report, models: Sequence[tuple[str, ModelReport]]) -> ClassTable | None:
    """What ships in full (the last model where it was not given), the others beside it."""
    rated = {label: model.per_class for label, model in models if model.per_class}
    if not rated:
        return None
    shipped = text.shipped_label(report)
    main = shipped if shipped in rated else list(rated)[-1]
    others = tuple(label for label in rated if label != main)
    rows = tuple((row, tuple(rated[label][i].f1 for label in others)) for i, row in enumerate(rated[main]))
    return ClassTable(label=main, others=others, rows=rows)


def _after_heading(words: str) -> str:
    """The words without the verdict's name, which stands above them."""
    rest = words.partition(": ")[2]
    return rest[:1].upper() + rest[1:]


def _curves(curves: Mapping[str, Rows]) -> list[Drawing]:
    complete = {stage: [row for row in rows if all(key in row for key in CURVE_KEYS)] for stage, rows in curves.items()}
    return [drawing for stage, rows in complete.items() for drawing in _drawing(stage, figures.curves_figure(rows))]


def _confusions(report: Report, models: Sequence[tuple[str, ModelReport]]) -> list[Confusions]:
    """What ships first; models that answered alike share a drawing, as a student and its float ONNX do."""
    shipped, classes = text.shipped_label(report), report.data.classes
    alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for label, model in models:
        if model.confusion:
            alike.setdefault(model.confusion, []).append(label)
    found = [_confusion(labels, matrix, classes, ships=shipped in labels) for matrix, labels in alike.items()]
    return sorted(found, key=lambda confusions: not confusions.ships)


def _confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], classes: Sequence[str], *, ships: bool) -> Confusions:
    label = ", ".join(labels)
    caption = f"{label}: images by true class (rows) and answer (columns)."
    drawing = _drawing(caption, figures.confusion_figure(matrix, classes))[0]
    return Confusions(label=label, drawing=drawing, worst=_worst(matrix, classes), ships=ships)


def _worst(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[tuple[str, str, int], ...]:
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    pairs = [(int(i) // len(classes), int(i) % len(classes)) for i in order]
    return tuple((classes[row], classes[column], int(wrong[row, column])) for row, column in pairs if wrong[row, column])
