"""A report for somebody who decides: what was measured, what came out, what it means, what to do."""

from __future__ import annotations

from collections.abc import Mapping

from edgetl.report.schema import DropParity, ModelReport, Report
from edgetl.report.text import (
    allowed,
    broken_vectors,
    chart_models,
    count,
    deciding,
    milliseconds,
    needed,
    percent,
    points,
    ratio,
    shipped_model,
    shipped_name,
    sides,
    size,
)

HEADLINES: Mapping[str, str] = {"certified": "Ready to ship", "passed": "Good, but not proven yet", "failed": "Do not ship this"}


def statements(report: Report) -> list[tuple[str, str]]:
    """The verdict in plain words: (what the sentence is about, the sentence)."""
    ships, parity = shipped_model(report), deciding(report)
    if ships is None or parity is None:
        return []
    found = [("Measured", _measured(report)), ("Found", _found(report, ships)), ("Meaning", _meaning(report, parity))]
    if report.shipped == "float" and report.models.onnx_int8:
        found.append(("Note", "The float model ships: int8 lost more than was allowed on the validation images."))
    return found


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


def _found(report: Report, ships: ModelReport) -> str:
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
    match report.verdict:
        case "certified" if high <= 0:
            return f"On images like these it is no worse than the {reference} (at 95% confidence)."
        case "certified":
            most = f"at most {points(high)} points against the {reference} (at 95% confidence)"
            return f"On images like these it loses {most}; {budget} may be lost."
        case "failed" if broken_vectors(report):
            return "The bundle does not answer here as it did where it was made: see the notes. Its score does not excuse that."
        case "failed" | "passed" if report.reasons:
            return " ".join(f"{reason[:1].upper()}{reason[1:]}." for reason in report.reasons)
        case "passed":
            return (
                f"What was measured is within the {budget} that may be lost, but {count(parity.images, 'image')} are too few to be sure: "
                f"it could be up to {points(high)}. {needed(parity)}"
            )
        case "failed" if report.parity.export and not report.parity.export.passed:
            return "The file does not answer as the network it was made from, so its score says nothing about the training."
        case _:
            return f"It loses {points(parity.drop)} points against the {reference}; {budget} may be lost."


def facts(report: Report) -> list[str]:
    """What somebody who decides must know about what ships: quality, size, speed, weak spots."""
    ships = shipped_model(report)
    if ships is None:
        return []
    return [*_quality(report, ships), *_thrift(report, ships), *_weakest(ships), _validity(report), *_overlap(report)]


def _quality(report: Report, ships: ModelReport) -> list[str]:
    low, high = ships.score_ci95
    lines = [f"Of 100 images it gets about {100 * ships.score:.0f} right (95% interval {100 * low:.1f} to {100 * high:.1f})."]
    if parity := deciding(report):
        lines.append(f"It gives the same answer as the {sides(report)[1]} to {percent(parity.agreement)} of them, right or wrong.")
    return lines


def _thrift(report: Report, ships: ModelReport) -> list[str]:
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


def _weakest(ships: ModelReport) -> list[str]:
    judged = [row for row in ships.per_class or () if row.support]
    if len(judged) < 2:
        return []
    row = min(judged, key=lambda row: (row.f1, row.recall))
    if row.f1 == 1:
        return ["It found every image of every class."]
    found = f"it finds {percent(row.recall)} of its {count(row.support, 'test image')}"
    return [f"Its weakest class is “{row.name}”: {found}, and is right in {percent(row.precision)} of the times it says so."]


def _validity(report: Report) -> str:
    return f"All this holds for images like the {report.data.images.test:,} test images, and says nothing about others."


def _overlap(report: Report) -> list[str]:
    across = (report.data.intake or {}).get("near_duplicates_across_parts", 0)
    words = "nearly the same as one in another part of the data, so the scores may be too good"
    return [f"Mind that {count(across, 'image')} {'looks' if across == 1 else 'look'} {words}."] if across else []


def advice(report: Report) -> list[str]:
    """What to do next."""
    embed = "Embed the bundle: its README has code that runs. Check its golden vectors on the device you ship to."
    if report.bundle_sha256 is None:
        embed = "Embed the model. The command edgetl export makes a bundle of it, with sample code and golden vectors."
    match report.verdict:
        case "certified":
            return [embed]
        case "passed":
            return ["It may ship, if a measured loss without proof is enough for you; else judge it on more test images.", embed]
        case "failed":
            return _remedies(report)


def _remedies(report: Report) -> list[str]:
    m, export = report.models, report.parity.export
    if export and not export.passed:
        return ["Report this as a bug, with the architecture's name: an export must not change answers."]
    if broken_vectors(report):
        return ["Compare the versions of onnxruntime here and where the bundle was made (its manifest.json), and export it again."]
    if (parity := deciding(report)) and parity.verdict != "failed":
        return ["Mend what is named above, then judge again: the score alone does not say that this can ship."]
    student_loss = m.teacher.score - m.onnx_float.score if m.teacher and m.onnx_float else 0.0
    int8_loss = m.onnx_float.score - m.onnx_int8.score if m.onnx_float and m.onnx_int8 and shipped_name(report) == "onnx_int8" else 0.0
    share = f"the student loses {points(student_loss)} points, int8 {points(int8_loss)}"
    bigger = "Try a larger student (--student), more epochs, or more photos of the weak classes."
    milder = "Try more calibration images, or ship the float model."
    if m.teacher and m.onnx_float:
        return [f"Where it was lost: {share}.", bigger if student_loss >= int8_loss else milder]
    return [milder]


def intake(report: Report) -> str:
    """What lay in the data beside images that could be used as they are; empty where nothing did."""
    return "; ".join(_told(what, number) for what, number in (report.data.intake or {}).items() if number)


def _told(what: str, number: int) -> str:
    match what:
        case "skipped_images":
            return f"{count(number, 'image file')} that could not be decoded, left out"
        case "ignored_files":
            return f"{count(number, 'file')} of no image format, ignored"
        case "exact_copies":
            return f"{number:,} exact {'copy' if number == 1 else 'copies'}, left out"
        case "near_duplicates":
            return f"{count(number, 'image')} looking much like another, kept together in one part"
        case "near_duplicates_across_parts":
            return f"{number:,} of these with one like it in another part all the same, so that the scores may be too good"
        case "near_duplicates_left_out":
            return f"{count(number, 'added image')} like earlier ones of two parts, left out, so that none of those had to move"
        case _:
            return f"{number:,} {what.replace('_', ' ')}"
