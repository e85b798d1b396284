"""The first screen: is it a faithful copy, is it good, is it small and fast? Three answers, since none stands for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgetl.report.confidence import confidence_words
from edgetl.report.embedded import embedded_words
from edgetl.report.plain import found, meaning, thrift
from edgetl.report.schema import DropParity, ModelReport, Report, VerdictWord
from edgetl.report.text import about, chart_models, deciding, reference_name, shipped_model, sides, wish_words
from edgetl.report.units import allowed, count, milliseconds, percent, points, ratio, score_of, share_of, size

BADGES: Mapping[VerdictWord, str] = {
    "certified": "Certified",
    "passed": "Passed, not proven",
    "undecided": "Undecided",
    "failed": "Failed",
}
UNSURE = "The times changed by more than 10% while they were measured, so they are estimates: see the notes."
Tone = Literal["certified", "passed", "undecided", "failed", "open"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with a short answer and the measurements; `open` if no requirement was given."""

    title: str
    answer: str
    tone: Tone
    lines: tuple[str, ...]


def questions(report: Report) -> list[Question]:
    """The three questions; none if the shipped model or its reference was not judged."""
    ships = shipped_model(report)
    if ships is None or deciding(report) is None:
        return []
    return [_faithful(report), _good(report, ships), _small(report, ships)]


def overruns(report: Report) -> list[str]:
    """Every other comparison whose measured loss is over its budget, with its meaning."""
    return [*_int8_over(report), *_negative_transfer(report)]


def _faithful(report: Report) -> Question:
    verdict = report.faithful or report.verdict
    because = [f"{report.shipped_because[:1].upper()}{report.shipped_because[1:]}."] if report.shipped_because else []
    if not because and report.shipped == "float" and report.models.onnx_int8:
        because = ["The float model ships, not the int8 model: the validation images decided so."]
    return Question(title="Is it a faithful copy?", answer=BADGES[verdict], tone=verdict, lines=(*meaning(report), *because))


def in_app(report: Report) -> tuple[str, ...]:
    """What an app developer must know of the bundle: confidences, the graphs that take pixels, flash and RAM of the C code."""
    lines = confidence_words(report.confidence) if report.confidence else []
    lines += embedded_words(report.embedded) if report.embedded else []
    if report.c:
        lines.append(f"The C code takes at most {size(report.c.flash_bytes)} of flash and {size(report.c.ram_bytes)} of RAM on a Cortex-M.")
    return tuple(lines)


def _good(report: Report, ships: ModelReport) -> Question:
    low, high = ships.score_ci95
    lines = [
        f"{found(report, ships)} The 95% interval is {100 * low:.1f}% to {100 * high:.1f}%.",
        *_largest(report, ships),
        *_probe(report),
    ]
    wish, right = report.wish, f"{score_of(ships.score, report.data.images.test)} right"
    if wish is None:
        lines.append("No required score was given. With --min-score 0.9, for example, the score becomes part of the verdict.")
        return Question(title="Is it good?", answer=right, tone="open", lines=tuple(lines))
    words = wish_words(wish)
    lines.append(f"{words[:1].upper()}{words[1:]}." if words else f"The whole interval is above the required {percent(wish.min_score)}.")
    said: Mapping[str, tuple[str, Tone]] = {
        "met": ("Yes", "certified"),
        "missed": ("No", "failed"),
        "undecided": ("Undecided", "undecided"),
    }
    answer, tone = said[wish.standing]
    if wish.standing == "met" and report.data.seen != "checked":
        answer, tone = ("Not proven", "open") if report.data.seen == "waived" else ("Yes, if no model has seen these images", "passed")
    return Question(title="Is it good?", answer=f"{answer}: {right}", tone=tone, lines=tuple(lines))


def _largest(report: Report, ships: ModelReport) -> list[str]:
    supports = [row.support for row in ships.per_class or ()]
    images = sum(supports)
    if not images:
        return []
    most = max(range(len(supports)), key=lambda index: supports[index])
    share, name = supports[most] / images, report.data.classes[most]
    worse = ": it is no better than that" if ships.score <= share else ": its interval does not exclude that"
    better = "" if ships.score_ci95[0] > share else worse
    return [f"The constant answer “{name}” would be right on {share_of(supports[most], images)}{better}."]


def _probe(report: Report) -> list[str]:
    if report.baselines is None:
        return []
    probe, teacher, images = report.baselines.linear_probe, report.baselines.teacher, report.baselines.images
    return [
        f"On the {images} val images, a linear head on the pretrained features is right on {score_of(probe.score, images)} and "
        f"the teacher on {score_of(teacher.score, images)} (standard error {points(probe.standard_error)} points). These images also "
        "chose the teacher's epoch, so its score on them may be too high."
    ]


def _small(report: Report, ships: ModelReport) -> Question:
    _, _, first = chart_models(report)[0]
    limits = _limits(report, ships)
    answer, tone = "Nothing to compare it with", "open"
    if first is not ships:
        answer = f"{ratio(first.size_bytes, ships.size_bytes)} smaller"
        if first.latency_ms and ships.latency_ms:
            answer += f", {about(first, ships)}{ratio(first.latency_ms.p50, ships.latency_ms.p50)} faster"
    if limits:
        kept = all(keeps for keeps, _ in limits)
        answer, tone = ("Within its budget, as measured" if kept else "Over its budget, as measured"), ("certified" if kept else "failed")
    unsure = [UNSURE] if about(first, ships) else []
    lines = (*thrift(report, ships), *(line for _, line in limits), *unsure)
    return Question(title="Is it small and fast?", answer=answer, tone=tone, lines=lines)  # type: ignore[arg-type]


def _limits(report: Report, ships: ModelReport) -> list[tuple[bool, str]]:
    """Each budget that was given: whether it is kept, and how."""
    limits, asked = [], report.frontier
    if asked and asked.max_bytes is not None:
        limits.append((ships.size_bytes <= asked.max_bytes, f"{size(ships.size_bytes)} of {size(asked.max_bytes)} allowed."))
    if asked and asked.max_ms is not None and ships.latency_ms:
        mine = ships.latency_ms.p50
        limits.append((mine <= asked.max_ms, f"{milliseconds(mine)} of {milliseconds(asked.max_ms)} allowed."))
    return limits


def _int8_over(report: Report) -> list[str]:
    parity = report.parity.int8
    if parity is None or parity is deciding(report) or parity.drop <= parity.max_drop:
        return []
    low, high = parity.drop_ci95
    shown = (
        f"Chance hardly explains that (95% interval {points(low)} to {points(high)})."
        if parity.verdict == "failed"
        else f"Undecided: with so few images it may be chance (95% interval {points(low)} to {points(high)})."
    )
    ships = (
        "The float model ships, so this loss does not matter."
        if report.shipped == "float"
        else f"The verdict compares with the {sides(report)[1]}, not with the float model."
    )
    lost = f"int8 loses {_answers(parity)} against float: {points(parity.drop)} points, with a budget of {allowed(parity.max_drop)}."
    return [f"{lost} {shown} {ships}"]


def _answers(parity: DropParity) -> str:
    """2 answers of 153, with those that went the other way."""
    net = round(parity.drop * parity.images)
    gone = f"{count(net, 'answer')} of {parity.images:,}"
    return f"{gone} (lost {parity.lost}, won {parity.gained})" if parity.gained else gone


def _negative_transfer(report: Report) -> list[str]:
    if report.baselines is None or not report.baselines.negative_transfer:
        return []
    name = reference_name(report)
    return [
        f"On the {report.baselines.images} val images the same network from scratch is better than the {name}, by more than one standard "
        "error. That may be chance, or the pretrained weights do harm here (--teacher-weights none)."
    ]
