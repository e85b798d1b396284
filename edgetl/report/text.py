"""A report in words and in plain rows: the terminal's table, a Markdown table, the verdict for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from edgetl.report.schema import MODEL_NAMES, DropParity, ModelReport, Report, read_report

LABELS: Mapping[str, str] = {"teacher": "teacher", "student": "student", "onnx_float": "float ONNX", "onnx_int8": "int8 ONNX"}
NO_VALUE = "-"


def comparison(report: Mapping[str, object]) -> list[tuple[str, ...]]:
    """The comparison of the models, a header and a row for each; ratios are to the first model."""
    return rows_of(read_report(report))


def rows_of(report: Report) -> list[tuple[str, ...]]:
    """As `comparison`, of a report that has been read."""
    header = ("model", report.metric, "95% interval", "size", "smaller", "latency p50", "p90", "faster")
    shown = list(models_of(report))
    return [header, *(_row(label, model, shown[0][1], ships=label == shipped_label(report)) for label, model in shown)]


def _row(label: str, model: ModelReport, first: ModelReport, *, ships: bool) -> tuple[str, ...]:
    low, high = model.score_ci95
    speed = model.latency_ms
    faster = ratio(first.latency_ms.p50, speed.p50) if speed and first.latency_ms else NO_VALUE
    return (
        f"{label} (ships)" if ships else label,
        percent(model.score),
        f"{100 * low:.1f} to {100 * high:.1f}",
        size(model.size_bytes),
        ratio(first.size_bytes, model.size_bytes),
        milliseconds(speed.p50) if speed else NO_VALUE,
        milliseconds(speed.p90) if speed else NO_VALUE,
        faster,
    )


def markdown(report: Mapping[str, object]) -> str:
    """The comparison as a Markdown table, and the verdict in words below it."""
    header, *rows = comparison(report)
    rule = ["---", *("---:" for _ in header[1:])]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, rule, *rows)]
    return "\n".join(lines) + f"\n\n{verdict_words(report)}\n"


def verdict_words(report: Mapping[str, object]) -> str:
    """The verdict in one or two sentences, with the numbers it rests on."""
    return verdict_of_report(read_report(report))


def verdict_of_report(report: Report) -> str:
    """As `verdict_words`, of a report that has been read."""
    export = report.parity.export
    if report.verdict == "failed" and export and not export.passed:
        return (
            "Failed: the float ONNX graph does not answer as the network it was made from: "
            f"outputs differ by up to {export.max_abs_diff:.3g}. The export went wrong, so nothing else counts."
        )
    parity = deciding(report)
    if parity is None:
        return f"{report.verdict.capitalize()}."
    candidate, reference = sides(report)
    low, high = parity.drop_ci95
    found = f"the {candidate} {_loses(parity.drop)} against the {reference} on {count(parity.images, 'test image')}"
    interval = f"(95% interval {points(low)} to {points(high)})"
    budget = f"budget of {allowed(parity.max_drop)}"
    match report.verdict:
        case "certified":
            return f"Certified: {found}; the whole 95% interval ({points(low)} to {points(high)}) is within the {budget}."
        case "passed":
            return f"Passed, not proven: {found}, within the {budget}, but there are too few images to be sure {interval}. {needed(parity)}"
        case "failed":
            return f"Failed: {found} {interval}, over the {budget}. Do not ship it."


def _loses(drop: float) -> str:
    match round(100 * drop, 2):
        case 0:
            return "loses nothing"
        case gain if gain < 0:
            return f"gains {points(-drop)} points"
        case _:
            return f"loses {points(drop)} points"


def needed(parity: DropParity) -> str:
    """How many images would prove it, where that is known."""
    if parity.images_needed is None:
        return "No number of images would prove this drop: it uses up the budget."
    grain = 10 ** max(0, len(str(parity.images_needed)) - 2)
    return f"About {math.ceil(parity.images_needed / grain) * grain:,} test images with the same outcome would prove it."


def deciding(report: Report) -> DropParity | None:
    """The comparison that the verdict rests on."""
    return report.parity.end_to_end or report.parity.int8


def sides(report: Report) -> tuple[str, str]:
    """Names of candidate and reference in the comparison that the verdict rests on."""
    if report.parity.end_to_end is None:
        return "int8 model", "float model"
    return f"{'float' if report.shipped == 'float' else 'int8'} model", "teacher" if report.models.teacher else "reference"


def models_of(report: Report) -> Iterator[tuple[str, ModelReport]]:
    """Name for people and numbers of each model that was given, teacher first."""
    for name in MODEL_NAMES:
        if model := getattr(report.models, name):
            yield LABELS[name], model


def shipped_label(report: Report) -> str:
    """The name for people of the model that ships."""
    return LABELS["onnx_float" if report.shipped == "float" else "onnx_int8"]


def shipped_model(report: Report) -> ModelReport | None:
    """The numbers of the model that ships, if it was judged."""
    return report.models.onnx_float if report.shipped == "float" else report.models.onnx_int8


def facts(report: Report) -> list[str]:
    """What somebody who decides must know about what ships: quality, size, speed, weak spots."""
    ships = shipped_model(report)
    if ships is None:
        return []
    return [*_quality(report, ships), *_thrift(report, ships), *_weakest(ships), _validity(report), *_overlap(report)]


def _quality(report: Report, ships: ModelReport) -> list[str]:
    low, high = ships.score_ci95
    words = f"Of 100 pictures it gets about {100 * ships.score:.1f} right (95% interval {100 * low:.1f} to {100 * high:.1f})"
    teacher = report.models.teacher
    lines = [f"{words}; the teacher {100 * teacher.score:.1f}." if teacher else f"{words}."]
    if parity := deciding(report):
        lines.append(f"It gives the same answer as the {sides(report)[1]} to {percent(parity.agreement)} of them.")
    return lines


def _thrift(report: Report, ships: ModelReport) -> list[str]:
    first_label, first = next(models_of(report))
    if first is ships:
        return [f"Its file has {size(ships.size_bytes)}."]
    smaller = f"{ratio(first.size_bytes, ships.size_bytes)} smaller than the {first_label}'s ({size(first.size_bytes)})"
    words = f"Its file has {size(ships.size_bytes)}, {smaller}"
    if not (ships.latency_ms and first.latency_ms):
        return [f"{words}."]
    mine, theirs = ships.latency_ms, first.latency_ms
    where = f"{count(mine.threads, 'thread')} of the machine that measured"
    return [f"{words}.", f"One picture takes {milliseconds(mine.p50)} on {where}; the {first_label} takes {milliseconds(theirs.p50)}."]


def _weakest(ships: ModelReport) -> list[str]:
    judged = [row for row in ships.per_class or () if row.support]
    if len(judged) < 2:
        return []
    row = min(judged, key=lambda row: row.recall)
    if row.recall == 1:
        return ["It found every picture of every class."]
    return [f"Its weakest class is “{row.name}”: it finds {percent(row.recall)} of its {count(row.support, 'test picture')}."]


def _validity(report: Report) -> str:
    return f"All this holds for pictures like the {report.data.images.test:,} test images, and says nothing about others."


def _overlap(report: Report) -> list[str]:
    across = (report.data.intake or {}).get("near_duplicates_across_parts", 0)
    words = "look nearly the same as one in another part of the data, so the scores may be too good"
    return [f"Mind that {count(across, 'picture')} {words}."] if across else []


def left_out(report: Report) -> list[str]:
    """What lay beside the images, and images that could not be used."""
    intake = report.data.intake or {}
    ignored, skipped = intake.get("ignored_files", 0), intake.get("skipped_images", 0)
    lines = [f"Left out: {count(skipped, 'image file')} that could not be decoded."] if skipped else []
    return [*lines, *([f"Ignored: {count(ignored, 'file')} of no image format."] if ignored else [])]


def advice(report: Report) -> list[str]:
    """What to do next."""
    embed = "Embed the bundle: its README has code that runs. Check its golden vectors on the device you ship to."
    if report.bundle_sha256 is None:
        embed = "Embed the model. The command edgetl export makes a bundle of it, with sample code and golden vectors."
    match report.verdict:
        case "certified":
            return [embed]
        case "passed":
            parity = deciding(report)
            proof = needed(parity) if parity else ""
            return [f"It may ship, if a measured drop without proof is enough for you. {proof}".strip(), embed]
        case "failed":
            return _remedies(report)


def _remedies(report: Report) -> list[str]:
    m, export = report.models, report.parity.export
    if export and not export.passed:
        return ["Report this as a bug, with the architecture's name: an export must not change answers."]
    student_loss = m.teacher.score - m.onnx_float.score if m.teacher and m.onnx_float else 0.0
    int8_loss = m.onnx_float.score - m.onnx_int8.score if m.onnx_float and m.onnx_int8 and report.shipped != "float" else 0.0
    share = f"the student loses {points(student_loss)} points, int8 {points(int8_loss)}"
    bigger = "Try a larger student (--student), more epochs, or more photos of the weak classes."
    milder = "Try more calibration images, or ship the float model."
    if m.teacher and m.onnx_float:
        return [f"Where it was lost: {share}.", bigger if student_loss >= int8_loss else milder]
    return [milder]


def percent(share: float) -> str:
    """0.978 -> `97.8%`."""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """0.0067 -> `0.67`, in percentage points."""
    text = f"{100 * difference:.2f}"
    return "0.00" if text == "-0.00" else text


def allowed(max_drop: float) -> str:
    """A budget: 0.01 -> `1 point`, 0.025 -> `2.5 points`."""
    number = f"{100 * max_drop:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def size(count_bytes: int) -> str:
    """84210 -> `84.2 kB`."""
    return f"{count_bytes / 1e6:.2f} MB" if count_bytes >= 1e6 else f"{count_bytes / 1e3:.1f} kB"


def milliseconds(value: float) -> str:
    """0.4137 -> `0.41 ms`."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def ratio(first: float, other: float) -> str:
    """How many times smaller `other` is than `first`: `10.2x`."""
    return f"{first / other:.1f}x" if other else NO_VALUE


def count(number: int, noun: str) -> str:
    """1 -> `1 thread`, 2 -> `2 threads`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
