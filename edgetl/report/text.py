"""The report as text: the table of the terminal, the verdict in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from edgetl.report.kernels import KernelsReport
from edgetl.report.schema import MODEL_NAMES, DropParity, ModelReport, Report, Wish, model_name, read_report
from edgetl.report.units import NO_VALUE, allowed, count, milliseconds, percent, points, ratio, score_of, size

MODEL_LABELS: Mapping[str, str] = {"teacher": "teacher", "student": "student", "onnx_float": "float ONNX", "onnx_int8": "int8 ONNX"}
MORE = "Judge on more test images."
GOLDEN = "golden vectors"  # notes on them begin so
NamedModel = tuple[str, str, ModelReport]  # key in `models`, name for people, numbers


def comparison(report: Mapping[str, object]) -> list[tuple[str, ...]]:
    """The comparison of the models, a header and a row for each; ratios are to the first model."""
    return rows_of(read_report(report))


def rows_of(report: Report) -> list[tuple[str, ...]]:
    """`comparison` for a report that has been read."""
    header = ("model", report.metric, "95% interval", "size", "smaller", "latency p50", "p90", "faster")
    shown = list(models_of(report))
    return [header, *(_row(label, model, shown[0][1], report, ships=label == shipped_label(report)) for label, model in shown)]


def _row(label: str, model: ModelReport, first: ModelReport, report: Report, *, ships: bool) -> tuple[str, ...]:
    low, high = model.score_ci95
    speed = model.latency_ms
    faster = ratio(first.latency_ms.p50, speed.p50) if speed and first.latency_ms else NO_VALUE
    return (
        f"{label} (ships)" if ships else label,
        score_of(model.score, report.data.images.test),
        f"{100 * low:.1f} to {100 * high:.1f}",
        size(model.size_bytes),
        ratio(first.size_bytes, model.size_bytes),
        milliseconds(speed.p50) if speed else NO_VALUE,
        milliseconds(speed.p90) if speed else NO_VALUE,
        faster,
    )


def verdict_words(report: Mapping[str, object]) -> str:
    """The verdict in one or two sentences, with the numbers it rests on."""
    return verdict_of_report(read_report(report))


def verdict_of_report(report: Report) -> str:
    """`verdict_words` for a report that has been read."""
    export = report.parity.export
    if report.verdict == "failed" and export and not export.passed:
        return (
            "Failed: the export to ONNX changed the network. "
            f"The outputs of the float ONNX graph differ from those of the checkpoint by up to {export.max_abs_diff:.3g}."
        )
    parity = deciding(report)
    if parity is None:
        return f"{report.verdict.capitalize()}."
    if broken := broken_vectors(report):
        return f"Failed: on this machine the bundle gives other outputs than its golden vectors ({len(broken)} differ; see the notes)."
    candidate, reference = sides(report)
    low, high = parity.drop_ci95
    found = f"the {candidate} {loses(parity.drop)} against the {reference} on {count(parity.images, 'test image')}"
    interval = f"(95% interval of the drop {points(low)} to {points(high)})"
    budget = f"budget of {allowed(parity.max_drop)}"
    why = "; ".join(report.reasons or ())
    match report.verdict:
        case "failed" if why and parity.verdict == "failed":
            return f"Failed: {why}. The whole interval of the drop is over the budget, too: {found} {interval}, with a {budget}."
        case "failed" if why:
            return f"Failed: {why}. The measured drop does not change that: {found} {interval}, with a {budget}."
        case "undecided" if why:
            return f"Undecided: {why}. Measured: {found} {interval}, with a {budget}."
        case "passed" if why:
            return f"Passed, not proven: {found} {interval}. That is within the {budget}, but {why}."
        case "certified":
            return (
                f"Certified: {found}. The whole 95% interval of the drop ({points(low)} to {points(high)} points) is within the {budget}."
            )
        case "passed":
            few = f"there are too few images to prove it {interval}"
            return f"Passed, not proven: {found}. That is within the {budget}, but {few}. {needed(parity)}"
        case "undecided":
            return f"Undecided: {found} {interval}. That this is over the {budget} may be chance, with so few images. {MORE}"
        case "failed":
            return f"Failed: {found} {interval}. The whole interval is over the {budget}. Do not ship it."


def about(*models: ModelReport) -> str:
    """What stands before a ratio of latencies one of which moved while it was measured."""
    return "about " if any(model.latency_ms and model.latency_ms.moved for model in models) else ""


def wish_words(wish: Wish) -> str | None:
    """Why the required score is not proven; None if it is."""
    low, high = wish.score_ci95
    measured = f"the shipped model is right on {percent(wish.score)} of the test images (95% interval {100 * low:.1f} to {100 * high:.1f})"
    wanted = f"the required {percent(wish.min_score)}"
    match wish.standing:
        case "met":
            return None
        case "missed":
            return f"{measured}; the whole interval is below {wanted}"
        case "undecided" if wish.score < wish.min_score:
            return f"{measured}. That is less than {wanted}, but with so few images it may be chance"
        case "undecided":
            return f"{measured}. There are too few images to prove {wanted}"


def golden_note(problem: str) -> str:
    """A note that a golden vector does not hold."""
    return f"{GOLDEN}: {problem}"


def broken_vectors(report: Report) -> list[str]:
    """The notes that say that a golden vector does not hold; that alone fails a verdict."""
    return [note for note in report.notes or () if note.startswith(GOLDEN)]


def loses(drop: float) -> str:
    """0.01 -> `loses 1.00 points`."""
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
        return "No number of images can prove a drop that equals the budget."
    grain = 10 ** max(0, len(str(parity.images_needed)) - 2)
    alike = ", near-duplicates among them as often," if parity.effective_images is not None else ""
    return f"About {math.ceil(parity.images_needed / grain) * grain:,} test images with the same outcome{alike} would prove it."


def where_time_goes(kernels: KernelsReport) -> str:
    """The share of time of int8 kernels and conversions, in a sentence."""
    words = f"The int8 model spends {percent(kernels.int8)} of its time in int8 kernels and {percent(kernels.conversion)} in conversions"
    if not kernels.float_layers:
        return f"{words}; no Conv, Gemm or MatMul runs in float."
    named = "; ".join(f"{layer.label}, {percent(layer.share)}" for layer in kernels.float_layers[:3])
    more = len(kernels.float_layers) - 3
    return f"{words}. These layers run in float: {named}{f' and {more} more' if more > 0 else ''}."


def deciding(report: Report) -> DropParity | None:
    """The comparison that the verdict rests on."""
    return report.parity.end_to_end or report.parity.int8


def sides(report: Report) -> tuple[str, str]:
    """Names of candidate and reference in the comparison that the verdict rests on."""
    if report.parity.end_to_end is None:
        return "int8 model", "float model"
    return f"{report.shipped} model", reference_name(report) if report.models.teacher else "float model"


def models_of(report: Report) -> Iterator[tuple[str, ModelReport]]:
    """Name for people and numbers of each model that was given, teacher first."""
    for name in MODEL_NAMES:
        if model := getattr(report.models, name):
            yield (reference_name(report) if name == "teacher" else label(report, name)), model


def label(report: Report, name: str) -> str:
    """The name in sentences of a key of `models`; int8 with layers in float is called mixed."""
    return MODEL_LABELS[name].replace("int8", "mixed") if report.shipped == "mixed" else MODEL_LABELS[name]


def reference_name(report: Report) -> str:
    """The name of `models.teacher`: "teacher" if there is a student, else "reference"."""
    return "teacher" if report.models.student else "reference"


def chart_models(report: Report) -> list[NamedModel]:
    """The models as the page shows them. The student's checkpoint is left out where its float graph answers the same."""
    same = report.parity.export is not None and report.parity.export.passed and report.models.onnx_float is not None
    shown = [name for name in MODEL_NAMES if getattr(report.models, name) and not (name == "student" and same)]
    return [(name, chart_label(report, name), getattr(report.models, name)) for name in shown]


def chart_label(report: Report, name: str) -> str:
    """The page's name for a model of `report.json`."""
    quantized = "mixed" if report.shipped == "mixed" else "int8"
    match name, report.models.student:
        case "teacher", _:
            return reference_name(report)
        case "onnx_float", None:
            return "float model"
        case "onnx_int8", None:
            return f"{quantized} model"
        case "onnx_float", _:
            return "student, float"
        case "onnx_int8", _:
            return f"student, {quantized}"
    return name


def shipped_chart_label(report: Report) -> str:
    """The name of the shipped model on the page."""
    return chart_label(report, shipped_name(report))


def shipped_name(report: Report) -> str:
    """The key of the shipped model in `models`."""
    return model_name(report.shipped)


def shipped_label(report: Report) -> str:
    """The name of the shipped model in sentences."""
    return label(report, shipped_name(report))


def shipped_model(report: Report) -> ModelReport | None:
    """The numbers of the model that ships, if it was judged."""
    found: ModelReport | None = getattr(report.models, shipped_name(report))
    return found


def answered(model: ModelReport, index: int) -> int | None:
    """How often a model answered a class; None where its confusions are not known."""
    return None if model.confusion is None else sum(row[index] for row in model.confusion)
