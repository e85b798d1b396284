"""A report for somebody who decides: what was measured, what came out, what it means, what to do."""

from __future__ import annotations

from collections.abc import Mapping

from edgetl.report.schema import ClassScores, DropParity, ModelReport, Report, VerdictWord
from edgetl.report.text import answered, broken_vectors, chart_models, deciding, needed, shipped_model, sides, wish_words
from edgetl.report.units import FEW_IMAGES, allowed, count, milliseconds, percent, points, ratio, share_of, size

HEADLINES: Mapping[VerdictWord, str] = {
    "certified": "A faithful copy",
    "passed": "Not proven yet",
    "undecided": "Undecided",
    "failed": "Do not ship this",
}


def headline(report: Report) -> str:
    """What the verdict is. "Ready to ship" is for a wish that is shown to be met: a copy is only as good as what it copies."""
    if report.verdict == "certified" and report.wish and report.wish.standing == "met":
        return "Ready to ship"
    return HEADLINES[report.verdict]


def summary(report: Report) -> list[str]:
    """What the headline means, in a sentence or two."""
    reference, wish = sides(report)[1], report.wish
    match report.verdict:
        case "certified" if wish:
            return [
                f"It is shown to answer about as well as the {reference}, and to have the {percent(wish.min_score)} that were wished for."
            ]
        case "certified":
            return [
                f"It is shown to answer about as well as the {reference}. Whether that is good enough for what you want, this page cannot "
                "know: nobody said which score is needed (--min-score)."
            ]
        case "passed" | "undecided" if wish and report.faithful == "certified":
            return [f"{_copy(report)}. Whether it has the {percent(wish.min_score)} that were wished for, so few images cannot say."]
        case "passed":
            return ["What was measured is within what was allowed, but there are too few images to be sure."]
        case "undecided":
            return ["What was measured is over what was allowed, but with so few images that may be chance: nothing is shown, either way."]
        case "failed":
            return ["What was asked for is shown not to hold, or nothing that was measured can count: see below."]


def _copy(report: Report) -> str:
    parity, reference = deciding(report), sides(report)[1]
    if parity is None or parity.drop_ci95[1] <= 0:
        return f"It is shown to be no worse than the {reference}"
    return (
        f"It is shown to lose at most {points(parity.drop_ci95[1])} points against the {reference}, of {allowed(parity.max_drop)} allowed"
    )


def meaning(report: Report) -> list[str]:
    """What was measured of the copy, and what that means: sentences."""
    parity = deciding(report)
    return [] if parity is None else [_measured(report), _meaning(report, parity)]


def _measured(report: Report) -> str:
    candidate, reference = sides(report)
    images = count(report.data.images.test, "test image")
    return f"The {candidate}, as an app runs it, and the {reference} answered the same {images}. {whether_seen(report)}".rstrip()


def whether_seen(report: Report) -> str:
    """Whether a model may have seen the test images before, in one sentence; empty for a report that does not say it."""
    why = report.data.seen_reason
    match report.data.seen:
        case "checked":
            words = "None of them is on record among the images that a model was trained, selected or calibrated on"
            return f"{words}. Mind: {why}." if why else f"{words}."
        case "not checked":
            return f"Whether a model had seen them before is not checked: {why}."
        case "waived":
            return f"A model may have seen them before, as was accepted: {why}. So the scores prove nothing about new images."
        case None:
            return ""


def found(report: Report, ships: ModelReport) -> str:
    """How many answers are right, and how many of the reference's."""
    images = report.data.images.test
    words = f"It gets {_right(ships, images)} of {images:,} right ({percent(ships.score)})"
    m = report.models
    reference = m.teacher or (m.onnx_float if m.onnx_float is not ships else None)
    if reference is None:
        return f"{words}."
    return f"{words}, the {sides(report)[1]} {_right(reference, images)} ({percent(reference.score)})."


def _right(model: ModelReport, images: int) -> str:
    return f"{round(model.score * images):,}"


def _meaning(report: Report, parity: DropParity) -> str:
    high, budget, reference = parity.drop_ci95[1], allowed(parity.max_drop), sides(report)[1]
    verdict = report.faithful or report.verdict
    reasons = [reason for reason in report.reasons or () if not report.wish or reason != wish_words(report.wish)]
    match verdict:
        case "failed" if broken_vectors(report):
            return "The bundle does not answer here as it did where it was made: see the notes. Its score does not excuse that."
        case "failed" if report.parity.export and not report.parity.export.passed:
            return "The file does not answer as the network it was made from, so its score says nothing about the training."
        case "failed" | "undecided" | "passed" if reasons:
            return " ".join(f"{reason[:1].upper()}{reason[1:]}." for reason in reasons)
        case "certified" if high <= 0:
            return f"On images like these it is no worse than the {reference} (at 95% confidence)."
        case "certified":
            most = f"at most {points(high)} points against the {reference} (at 95% confidence)"
            return f"On images like these it loses {most}; {budget} may be lost."
        case "passed":
            return (
                f"What was measured is within the {budget} that may be lost, but {count(parity.images, 'image')} are too few to be sure: "
                f"it could be up to {points(high)}. {needed(parity)}"
            )
        case "undecided":
            return (
                f"It loses {points(parity.drop)} points against the {reference}, and {budget} may be lost. With "
                f"{count(parity.images, 'image')} that may be chance: the 95% interval begins at {points(parity.drop_ci95[0])}."
            )
        case _:
            return (
                f"It loses {points(parity.drop)} points against the {reference}, at least {points(parity.drop_ci95[0])} at 95% confidence; "
                f"{budget} may be lost."
            )


def facts(report: Report) -> list[str]:
    """What somebody who decides must know about what ships: quality, weak spots, and what the numbers hold for."""
    ships = shipped_model(report)
    if ships is None:
        return []
    return [*_quality(report, ships), *_weakest(report, ships), _validity(report), *_overlap(report), *_grouped(report)]


def _quality(report: Report, ships: ModelReport) -> list[str]:
    low, high = ships.score_ci95
    images = report.data.images.test
    lines = [f"Of 100 images it gets about {100 * ships.score:.0f} right (95% interval {100 * low:.1f} to {100 * high:.1f})."]
    if images < FEW_IMAGES:
        lines = [f"It gets {_right(ships, images)} of {images} images right: of so few, a share says little."]
    if parity := deciding(report):
        alike = share_of(round(parity.agreement * parity.images), parity.images)
        lines.append(f"It gives the same answer as the {sides(report)[1]} to {alike} of them, right or wrong.")
    return lines


def thrift(report: Report, ships: ModelReport) -> list[str]:
    """Its size and time, beside the first model's."""
    _, first_label, first = chart_models(report)[0]
    if first is ships:
        return [f"Its file has {size(ships.size_bytes)}."]
    smaller = ratio(first.size_bytes, ships.size_bytes)
    words = f"Its file has {size(ships.size_bytes)}, the {first_label}'s {size(first.size_bytes)}: {smaller} smaller."
    if not (ships.latency_ms and first.latency_ms):
        return [words]
    mine, theirs = ships.latency_ms, first.latency_ms
    where = f"{count(mine.threads, 'thread')} of the machine that measured"
    return [words, f"One image takes {milliseconds(mine.p50)} on {where}; the {first_label} takes {milliseconds(theirs.p50)}."]


def weakest(ships: ModelReport) -> ClassScores | None:
    """The class with the least F1, of those with images; None where fewer than two have any."""
    judged = [row for row in ships.per_class or () if row.support]
    return min(judged, key=lambda row: (row.f1, row.recall)) if len(judged) > 1 else None


def _weakest(report: Report, ships: ModelReport) -> list[str]:
    row = weakest(ships)
    if row is None:
        return []
    if row.f1 == 1:
        return ["It found every image of every class."]
    finds = f"it finds {finds_of(row)}"
    times = answered(ships, report.data.classes.index(row.name))
    match times:
        case None:
            called = f"is right in {percent(row.precision)} of the times it says so"
        case 0:
            called = "never answers it"
        case _ if times < FEW_IMAGES:
            called = f"is right in {round(row.precision * times)} of the {count(times, 'time')} it says so"
        case _:
            called = f"is right in {percent(row.precision)} of the times it says so"
    return [f"Its weakest class is “{row.name}”: {finds}, and {called}."]


def finds_of(row: ClassScores) -> str:
    """How many of its test images are found: a share, or counts where they are few."""
    hits = round(row.recall * row.support)
    if row.support < FEW_IMAGES:
        return f"{hits} of its {count(row.support, 'test image')}"
    return f"{percent(row.recall)} of its {count(row.support, 'test image')}"


def _validity(report: Report) -> str:
    return f"All this holds for images like the {report.data.images.test:,} test images, and says nothing about others."


def _overlap(report: Report) -> list[str]:
    across = (report.data.intake or {}).get("near_duplicates_across_parts", 0)
    words = "nearly the same as one in another part of the data, so the scores may be too good"
    return [f"Mind that {count(across, 'image')} {'looks' if across == 1 else 'look'} {words}."] if across else []


def _grouped(report: Report) -> list[str]:
    parity = deciding(report)
    if parity is None or parity.effective_images is None:
        return []
    much = f"together the {parity.images:,} test images say as much about the drop as {parity.effective_images:,.0f} independent ones would"
    return [f"Some test images are near-duplicates of each other: {much}, and the intervals are made for that."]
