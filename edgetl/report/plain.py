"""The report in sentences: the measurements, their meaning, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping

from edgetl.metrics.recall import shown_least
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
    """The verdict in a few words. "Ready to ship" is only for a required score that is proven: a copy is as good as its original.

    Proven means on images that no model was trained on.
    """
    if report.verdict == "certified" and report.data.seen == "checked" and report.wish and report.wish.standing == "met":
        return "Ready to ship"
    return HEADLINES[report.verdict]


def summary(report: Report) -> list[str]:
    """What the headline means, in a sentence or two."""
    wish = report.wish
    match report.verdict:
        case "certified" if wish:
            unless = "" if report.data.seen == "checked" else ", unless a model was trained on these images, which was not checked"
            return [f"{_copy(report)}. The 95% interval of its score is above the required {percent(wish.min_score)}{unless}."]
        case "certified":
            return [f"{_copy(report)}. Whether that is good enough depends on your application: --min-score states the required score."]
        case "passed" | "undecided" if wish and report.faithful == "certified":
            return [f"{_copy(report)}. There are too few images to say whether it reaches the required score of {percent(wish.min_score)}."]
        case "passed" | "undecided":
            return [_unproven(report)]
        case "failed":
            return ["A requirement is not met, or the measurements prove nothing; the reasons are below."]


def _unproven(report: Report) -> str:
    """Why the verdict is not better, in one sentence: the drop, the number of images, or other reasons."""
    parity = deciding(report)
    match parity.verdict if parity else report.verdict:
        case "certified":
            return "The drop is within the budget, at 95% confidence, but something else is open; the reasons are below."
        case "undecided":
            return "The measured drop is over the budget, but with so few images it may be chance. The test proves neither."
        case _ if report.reasons:
            return (
                "The measured drop is within the budget, but there are too few images to prove it, and more is open; the reasons are below."
            )
        case _:
            return "The measured drop is within the budget, but there are too few images to prove it."


def _copy(report: Report) -> str:
    parity, reference = deciding(report), sides(report)[1]
    if parity is None or parity.drop_ci95[1] <= 0:
        return f"It is no worse than the {reference}, at 95% confidence"
    most = f"at most {points(parity.drop_ci95[1])} points against the {reference} at 95% confidence"
    return f"It loses {most} (allowed: {allowed(parity.max_drop)})"


def meaning(report: Report) -> list[str]:
    """The measurements of the copy and their meaning, as sentences."""
    parity = deciding(report)
    return [] if parity is None else [_measured(report), _meaning(report, parity)]


def _measured(report: Report) -> str:
    candidate, reference = sides(report)
    images = count(report.data.images.test, "test image")
    return f"The exported {candidate} and the {reference} classified the same {images}. {whether_seen(report)}".rstrip()


def whether_seen(report: Report) -> str:
    """Whether a model may have seen the test images before, in one sentence; empty for a report that does not say it."""
    why = report.data.seen_reason
    match report.data.seen:
        case "checked":
            words = "None of them was used to train, select or calibrate a model, as far as the records show"
            return f"{words}. Note: {why}." if why else f"{words}."
        case "not checked":
            return f"It was not checked whether a model was trained on them: {why}."
        case "waived":
            return f"A model may have been trained on them, which was allowed: {why}. The scores prove nothing about new images."
        case None:
            return ""


def found(report: Report, ships: ModelReport) -> str:
    """How many answers are right, and how many of the reference's."""
    images = report.data.images.test
    words = f"It gets {_right(ships, images)}"
    m = report.models
    reference = m.teacher or (m.onnx_float if m.onnx_float is not ships else None)
    if reference is None:
        return f"{words}."
    return f"{words}, the {sides(report)[1]} {_right(reference, images, of=False)}."


def _right(model: ModelReport, images: int, *, of: bool = True) -> str:
    """143 of 153 right (93.5%); the percentage only where there are enough images."""
    share = f" ({percent(model.score)})" if images >= FEW_IMAGES else ""
    return f"{round(model.score * images):,}{f' of {images:,} right' if of else ''}{share}"


def _meaning(report: Report, parity: DropParity) -> str:
    high, budget, reference = parity.drop_ci95[1], allowed(parity.max_drop), sides(report)[1]
    verdict = report.faithful or report.verdict
    reasons = [reason for reason in report.reasons or () if not report.wish or reason != wish_words(report.wish)]
    match verdict:
        case "failed" if broken_vectors(report):
            return "The bundle gives other outputs here than where it was made; the notes say which."
        case "failed" if report.parity.export and not report.parity.export.passed:
            return "The exported file gives other outputs than the network that it was made from."
        case "passed" if reasons and parity.verdict == "passed":
            return f"{_sentences(reasons)} Nor do {count(parity.images, 'image')} prove the budget of {budget}. {needed(parity)}"
        case "failed" | "undecided" | "passed" if reasons:
            return _sentences(reasons)
        case "certified" if high <= 0:
            return f"On images like these it is no worse than the {reference} (at 95% confidence)."
        case "certified":
            most = f"at most {points(high)} points against the {reference} (at 95% confidence)"
            return f"On images like these it loses {most}. The budget is {budget}."
        case "passed":
            return (
                f"The measured drop is within the budget of {budget}, but {count(parity.images, 'image')} are too few to prove it: "
                f"the 95% interval of the drop ends at {points(high)} points. {needed(parity)}"
            )
        case "undecided":
            return (
                f"It loses {points(parity.drop)} points against the {reference}; the budget is {budget}. That this is over the budget may "
                f"be chance, with {count(parity.images, 'image')}: the 95% interval begins at {points(parity.drop_ci95[0])}."
            )
        case _:
            return (
                f"It loses {points(parity.drop)} points against the {reference}, at least {points(parity.drop_ci95[0])} at 95% confidence; "
                f"the budget is {budget}."
            )


def _sentences(reasons: list[str]) -> str:
    return " ".join(f"{reason[:1].upper()}{reason[1:]}." for reason in reasons)


def facts(report: Report) -> list[str]:
    """Facts about the shipped model: quality, weakest class, and the limits of the figures."""
    ships = shipped_model(report)
    if ships is None:
        return []
    return [*_quality(report, ships), *_weakest(report, ships), _validity(report), *_overlap(report), *_grouped(report)]


def _quality(report: Report, ships: ModelReport) -> list[str]:
    low, high = ships.score_ci95
    images = report.data.images.test
    share = f"95% interval of that share: {100 * low:.1f} to {100 * high:.1f}%"
    lines = [f"Of 100 images it gets about {100 * ships.score:.0f} right on average ({share})."]
    if images < FEW_IMAGES:
        lines = [f"It gets {_right(ships, images)}; these are too few for a percentage."]
    if parity := deciding(report):
        alike = share_of(round(parity.agreement * parity.images), parity.images)
        lines.append(f"It gives the same answer as the {sides(report)[1]} on {alike} of the images, right or wrong.")
    return lines


def thrift(report: Report, ships: ModelReport) -> list[str]:
    """Size and latency of the shipped model and of the first model."""
    _, first_label, first = chart_models(report)[0]
    if first is ships:
        return [f"Its file has {size(ships.size_bytes)}."]
    smaller = ratio(first.size_bytes, ships.size_bytes)
    words = f"Its file has {size(ships.size_bytes)}, the {first_label}'s {size(first.size_bytes)}: {smaller} smaller."
    if not (ships.latency_ms and first.latency_ms):
        return [words]
    mine, theirs = ships.latency_ms, first.latency_ms
    where = f"{count(mine.threads, 'thread')} of the test machine"
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
        return ["It found every test image of every class."]
    finds = f"it finds {finds_of(row)}"
    times = answered(ships, report.data.classes.index(row.name))
    match times:
        case 0:
            called = "never answers it"
        case int() if times < FEW_IMAGES:
            called = f"is right {round(row.precision * times)} of the {count(times, 'time')} that it answers “{row.name}”"
        case _:
            called = f"{percent(row.precision)} of its answers “{row.name}” are right"
    other = "On other images the weakest class may be another." if weaker(ships, row) else "That it is the weakest may be chance."
    return [f"Its weakest class is “{row.name}”: {finds}, and {called}. {other}"]


def weaker(ships: ModelReport, row: ClassScores) -> bool:
    """Whether fewer images of the class are found than of the others, beyond chance."""
    judged = [other for other in ships.per_class or () if other.support]
    found, images = (sum(numbers) for numbers in zip(*((round(one.recall * one.support), one.support) for one in judged), strict=True))
    own = round(row.recall * row.support)
    return shown_least(own, row.support, found - own, images - row.support, len(judged))


def finds_of(row: ClassScores) -> str:
    """How many of its test images are found: a share, or counts where they are few."""
    hits = round(row.recall * row.support)
    if row.support < FEW_IMAGES:
        return f"{hits} of its {count(row.support, 'test image')}"
    return f"{percent(row.recall)} of its {count(row.support, 'test image')}"


def _validity(report: Report) -> str:
    images = f"{report.data.images.test:,} test images"
    return (
        f"All figures come from the {images}. They hold for other images only if these show the same things and are taken in the same way."
    )


def _overlap(report: Report) -> list[str]:
    across = (report.data.intake or {}).get("near_duplicates_across_parts", 0)
    words = "nearly the same as an image in another part of the data, so the scores may be too high"
    return [f"Note that {count(across, 'image')} {'looks' if across == 1 else 'look'} {words}."] if across else []


def _grouped(report: Report) -> list[str]:
    parity = deciding(report)
    if parity is None or parity.effective_images is None:
        return []
    much = f"together the {parity.images:,} test images are worth about {parity.effective_images:,.0f} independent ones"
    return [f"Some test images are near-duplicates: {much}, and the intervals take that into account."]
