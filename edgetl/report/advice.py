"""What to do next, and what would help most: from what was measured, the largest first."""

from __future__ import annotations

from edgetl.report.plain import finds_of, weaker, weakest
from edgetl.report.schema import DropParity, ModelReport, Report
from edgetl.report.text import broken_vectors, deciding, needed, shipped_model, shipped_name, sides
from edgetl.report.units import count, points

MOST_SENTENCES = 3  # things that would help


def advice(report: Report) -> list[str]:
    """Whether to ship it, and what would help."""
    embed = "Embed the bundle: its README has tested code. Check its golden vectors on the target device."
    if report.bundle_sha256 is None:
        embed = "Embed the model. The command edgetl export writes a bundle with sample code and golden vectors."
    match report.verdict:
        case "certified":
            return [embed, *helps(report)]
        case "passed":
            return [
                "Ship it if a measurement without proof is enough for you. Otherwise test it on more images.",
                *helps(report),
                embed,
            ]
        case "undecided":
            return [
                "Test it on more images before you ship it; these prove neither that it is good enough nor that it is not.",
                *helps(report),
            ]
        case "failed":
            return _remedies(report)


def helps(report: Report) -> list[str]:
    """At most `MOST_SENTENCES` things that may win right answers, those first that could win most, each with its reason."""
    ships, m, images = shipped_model(report), report.models, report.data.images.test
    if ships is None:
        return []
    found: list[tuple[float, str]] = []
    reference = m.teacher or m.onnx_float
    if reference and reference is not ships and reference.score < 1:
        wrong, name = round((1 - reference.score) * images), sides(report)[1]
        better = "a copy of it can hardly be expected to do much better"
        more = f"Use a larger {name}, or more photos (edgetl recommend DATA ranks networks)."
        found.append((wrong, f"The {name} itself is wrong on {count(wrong, 'test image')}: {better}. {more}"))
    if m.teacher and m.onnx_float and (lost := _lost(m.teacher, m.onnx_float, images)) > 0:
        found.append(
            (
                lost,
                f"The student loses {count(lost, 'right answer')} against the teacher{_chance(report.parity.end_to_end)}. "
                "Try a larger student (--student), or more epochs.",
            )
        )
    if m.onnx_float and m.onnx_int8 and shipped_name(report) == "onnx_int8" and (lost := _lost(m.onnx_float, m.onnx_int8, images)) > 0:
        found.append(
            (
                lost,
                f"int8 loses {count(lost, 'right answer')} against float{_chance(report.parity.int8)}. "
                "Try more calibration images, or ship the float model.",
            )
        )
    row = weakest(ships)
    if row and weaker(ships, row):
        missed = round((1 - row.recall) * row.support)
        found.append((missed, f"Add photos of “{row.name}”, the weakest class: {finds_of(row)} are found."))
    parity = deciding(report)
    if parity and parity.verdict == "passed" and parity.images_needed is not None:
        found.append((0, f"Add test images. {needed(parity)}"))
    return [words for _, words in sorted(found, key=lambda one: -one[0])][:MOST_SENTENCES]


def _chance(parity: DropParity | None) -> str:
    return ", which may be chance" if parity and parity.drop_ci95[0] <= 0 else ""


def _lost(before: ModelReport, after: ModelReport, images: int) -> int:
    return round((before.score - after.score) * images)


def _remedies(report: Report) -> list[str]:
    m, export = report.models, report.parity.export
    if export and not export.passed:
        return ["Report this as a bug, with the name of the architecture: an export must not change outputs."]
    if broken_vectors(report):
        return ["Compare the version of onnxruntime here with the one in manifest.json of the bundle, and export the bundle again."]
    if (parity := deciding(report)) and parity.verdict != "failed":
        return ["Correct what is named above, then verify again. The drop alone is no reason to ship.", *helps(report)]
    student_loss = m.teacher.score - m.onnx_float.score if m.teacher and m.onnx_float else 0.0
    int8_loss = m.onnx_float.score - m.onnx_int8.score if m.onnx_float and m.onnx_int8 and shipped_name(report) == "onnx_int8" else 0.0
    share = f"the student loses {points(student_loss)} points, int8 {points(int8_loss)}"
    where = [f"Where it was lost: {share}."] if m.teacher and m.onnx_float else []
    return [*where, *(helps(report) or ["Try more calibration images, or ship the float model."])]
