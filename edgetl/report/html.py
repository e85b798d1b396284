"""report.html: the report as one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from edgetl.report import advice, charts, figures, plain, plain_data, questions, tables, text, units
from edgetl.report.predictions import Answer, Gallery, ShownImage
from edgetl.report.schema import DropParity, Report, read_report

Rows = Sequence[Mapping[str, float]]
SHORT_LABELS = {"onnx_float": "float", "onnx_int8": "int8"}
CURVE_KEYS = ("epoch", "loss", "val_loss", "val_score")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in the page: what it shows, in words, and the drawing."""

    caption: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image of the gallery: its class, (whose answer, the answer) of each model, where it lies, and its picture."""

    truth: str
    answers: tuple[tuple[str, Answer], ...]
    file: str | None
    sha256: str
    picture: str | None

    @property
    def words(self) -> str:
        """The card for those who cannot see it."""
        said = ", ".join(f"{whose}: {answer.name}" for whose, answer in self.answers)
        return f"Test image of the class {self.truth}; {said}"


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The gallery of the page: mistakes of the shipped model, and images on which two models differ."""

    mistakes: tuple[Card, ...]
    differences: tuple[Card, ...]
    source: Gallery
    pair: tuple[str, ...]
    pictured: bool


def render(
    report: Mapping[str, object],
    curves: Mapping[str, Rows],
    gallery: Gallery | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """The text of report.html; sections whose models, curves or images are not given are left out.

    Args:
        report: the content of report.json.
        curves: stage -> rows of its training log with `epoch`, `loss`, `val_loss` and `val_score`.
        gallery: the images to look at.
        pictures: name of a thumbnail -> its data URI.

    Raises:
        InputError: not a valid report.json.
    """
    read = read_report(report)
    return _template().render(
        r=read,
        t=text,
        u=units,
        plain=plain,
        plain_data=plain_data,
        questions=questions,
        advice=advice,
        badge=questions.BADGES[read.verdict],
        words=_after_heading(text.verdict_of_report(read)),
        models=text.chart_models(read),
        table=text.rows_of(read),
        tiles=_tiles(read),
        charts=_charts(read),
        drops=_drops(read),
        drop_chart=charts.drop_chart(_drops(read)) if _drops(read) else None,
        wall=_wall(read, gallery, pictures or {}) if gallery else None,
        class_table=tables.class_table(read),
        confusions=tables.confusions(read),
        worst=tables.WORST,
        flat=len(read.data.classes) <= 4 or max(map(len, read.data.classes)) <= 3,
        curves=_curves(curves),
        frontier=_frontier(read),
    )


@cache
def _template() -> Template:
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page, style = (
        (files("edgetl.report") / "templates" / name).read_text(encoding="utf-8") for name in ("report.html.jinja", "report.css")
    )
    environment.globals["style"] = Markup(style)  # ours, with nothing of the user's in it
    return environment.from_string(page)


def _tiles(report: Report) -> list[tuple[str, str]]:
    """The numbers at the top of the page: (value, label)."""
    ships, models = text.shipped_model(report), text.chart_models(report)
    if ships is None or not models:
        return []
    _, label, first = models[0]
    tiles = [(units.score_of(ships.score, report.data.images.test), f"right answers ({report.metric})")]
    if parity := text.deciding(report):
        (low, high), lost = parity.drop_ci95, "gained" if parity.drop < 0 else "lost"
        low, high = (-high, -low) if parity.drop < 0 else (low, high)
        within = f"95% interval {units.points(low)} to {units.points(high)}"
        tiles.append((units.points(abs(parity.drop)), f"points {lost} against the {text.sides(report)[1]} ({within})"))
    if first is not ships:
        smaller = units.ratio(first.size_bytes, ships.size_bytes)
        tiles.append((units.size(ships.size_bytes), f"file size, {smaller} smaller than the {label}"))
        if ships.latency_ms and first.latency_ms:
            faster = f"{text.about(first, ships)}{units.ratio(first.latency_ms.p50, ships.latency_ms.p50)}"
            tiles.append((units.milliseconds(ships.latency_ms.p50), f"an image, {faster} faster than the {label}"))
    return tiles


def _charts(report: Report) -> list[charts.Chart]:
    models = text.chart_models(report)
    if not models:
        return []
    drawn = (charts.size_chart(models), charts.latency_chart(models), charts.score_chart(models, report.metric, report.data.images.test))
    return [chart for chart in drawn if chart]


def _drops(report: Report) -> list[tuple[str, DropParity]]:
    candidate, reference = text.sides(report)
    named = (("int8 against float", report.parity.int8), (f"{candidate} against {reference}", report.parity.end_to_end))
    return [(label, parity) for label, parity in named if parity]


def _wall(report: Report, gallery: Gallery, pictures: Mapping[str, str]) -> Wall:
    def card(shown: ShownImage, names: Mapping[str, str]) -> Card:
        picture = pictures.get(shown.thumbnail) if shown.thumbnail else None
        answers = tuple((names[name], shown.answers[name]) for name in names)
        return Card(truth=shown.truth, answers=answers, file=shown.file, sha256=shown.sha256, picture=picture)

    pair = {name: SHORT_LABELS.get(name, text.reference_name(report)) for name in gallery.pair or ()}
    mistakes = tuple(card(shown, {gallery.shipped: "answered"}) for shown in gallery.mistakes)
    differences = tuple(card(shown, pair) for shown in gallery.differences)
    return Wall(
        mistakes=mistakes,
        differences=differences,
        source=gallery,
        pair=tuple(pair.values()),
        pictured=any(card.picture for card in (*mistakes, *differences)),
    )


def _after_heading(words: str) -> str:
    """The words without the verdict's name, which stands above them."""
    rest = words.partition(": ")[2]
    return rest[:1].upper() + rest[1:]


def _frontier(report: Report) -> Drawing | None:
    found = report.frontier
    if found is None:
        return None
    balanced = any(row.balanced is not None for row in found.tried)
    spots = [
        figures.Spot(
            name=row.student,
            kb=row.size_bytes / 1000,
            ms=row.latency_ms,
            score=row.score if row.balanced is None else row.balanced,  # what chose
            standard_error=found.standard_error,
        )
        for row in found.tried
    ]
    figure = figures.frontier_figure(spots, "mean recall on val, %" if balanced else "val score, %")
    return Drawing(caption="students", svg=Markup(figures.svg(figure)))  # matplotlib escapes its text


def _curves(curves: Mapping[str, Rows]) -> list[Drawing]:
    complete = {stage: [row for row in rows if all(key in row for key in CURVE_KEYS)] for stage, rows in curves.items()}
    drawn = ((stage, figures.curves_figure(rows)) for stage, rows in complete.items())
    return [Drawing(caption=stage, svg=Markup(figures.svg(figure))) for stage, figure in drawn if figure]  # matplotlib escapes its text
