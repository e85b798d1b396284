"""From comparisons to the verdict: the drop of the score, whether the reference knows the classes, and which classes were lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.core.artifacts import Form
from edgetl.metrics.choice import FormChoice
from edgetl.metrics.clusters import Groups
from edgetl.metrics.evidence import Evidence, evidence
from edgetl.metrics.parity import PairedDrop, paired_drop
from edgetl.report.judgement import Judgement
from edgetl.report.schema import RANK, LostClass, Parity, VerdictWord, Wish
from edgetl.report.text import loses, wish_words
from edgetl.report.units import allowed, points
from edgetl.tasks.class_order import listed

NAMED_CLASSES = 5  # lost classes in a sentence
ReasonWeight = Literal["fatal", "open", "doubt"]  # at most failed, undecided, passed


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """The verdict, and why it is less than the comparison of scores alone gives; `faithful` is the verdict without the wish."""

    verdict: VerdictWord
    faithful: VerdictWord
    reasons: tuple[str, ...]


def ruling(
    judgement: Judgement, parity: Parity, others: Sequence[str] | None = None, wish: Wish | None = None, *, waived: str | None = None
) -> Ruling:
    """The end-to-end verdict, lowered for each of these reasons.

    1. The export went wrong: failed.
    2. The reference is not shown to know the classes (`edgetl.metrics.evidence`): failed. What answers like it proves nothing.
    3. `others`, another order of the class names that is as likely, fits the reference better: failed.
    4. A class is shown to be lost (`edgetl.metrics.recall`): failed.
    5. A class looks lost, but has too few images to show it: certified becomes passed.
    6. The reference is right no more often than one constant answer, though it knows the classes: certified becomes passed.
    7. `waived`: images that a model was trained on may judge: certified becomes passed.
    8. The score that was wished for is missed: failed where its whole interval is below, undecided where only the measured score is, and
       passed where only the measured score is above.

    Raises:
        InputError: there is nothing to compare what ships with.
    """
    reference, _ = judgement.sides
    end = parity.end_to_end
    assert end is not None  # there are two sides
    if parity.export and not parity.export.passed:
        return Ruling(verdict="failed", faithful="failed", reasons=())
    lost = _of_classes(end.lost_classes or (), said(judgement, reference))
    found, wished = [*_of_reference(judgement, reference, others), *lost, *_of_seen(waived)], list(_of_wish(wish))
    faithful = _lowered(end.verdict, found)
    return Ruling(verdict=_lowered(faithful, wished), faithful=faithful, reasons=tuple(reason for _, reason in (*found, *wished)))


def _lowered(verdict: VerdictWord, found: Sequence[tuple[ReasonWeight, str]]) -> VerdictWord:
    """At most what each reason allows."""
    most: Mapping[ReasonWeight, VerdictWord] = {"fatal": "failed", "open": "undecided", "doubt": "passed"}
    return min([verdict, *(most[weight] for weight, _ in found)], key=lambda one: RANK[one])


def said(judgement: Judgement, name: str) -> str:
    """The name of the reference in sentences."""
    if name == "onnx_float":
        return "float model"
    return "teacher" if "student" in judgement.outputs else "reference"


def ignorance(found: Evidence, classes: Sequence[str], name: str) -> str | None:
    """Why a reference proves nothing; None where it may be one."""
    if found.occurring < 2:
        only = f"all test images are of the class “{classes[found.largest]}”"
        return f"{only}, so a constant answer is right on all of them and the test proves nothing. Give images of several classes"
    if found.knows:
        return None
    return (
        f"the {name} is right on {found.score:.1%} of the images, and {found.share:.1%} of them are “{classes[found.largest]}”: "
        f"that does not prove that it is better than a constant answer, so agreement with it proves nothing. Give a better one, or, if the "
        f"classes are in another order than {listed(classes)}, say so with --labels FILE"
    )


def misordered(
    answers: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    others: Sequence[str] | None,
    name: str,
    groups: Groups | None = None,
) -> str | None:
    """Why another order of the class names seems to be the right one: with it, the answers are right more often, beyond chance."""
    if others is None:
        return None
    right, places = answers == labels, np.array([others.index(one) for one in classes])
    other = answers == places[labels]
    if paired_drop(right, other, groups=groups).high >= 0:
        return None
    return (
        f"the classes seem to be in another order: with {listed(others)} the {name} is right on {other.mean():.1%} of the images, with "
        f"{listed(classes)} on {right.mean():.1%}. Give the right order with --labels FILE, one name per line"
    )


def lost_words(lost: Sequence[LostClass], name: str) -> str:
    """Which classes, and how many of their images the two models have right."""
    told = [
        f"“{one.name}” (the {name} has {one.before} of {one.images} images right, the shipped model {one.after})"
        for one in lost[:NAMED_CLASSES]
    ]
    more = f", and {len(lost) - NAMED_CLASSES} more" if len(lost) > NAMED_CLASSES else ""
    return ", ".join(told) + more


def _of_reference(judgement: Judgement, reference: str, others: Sequence[str] | None) -> Iterator[tuple[ReasonWeight, str]]:
    classes, name = judgement.task.classes, said(judgement, reference)
    found, groups = evidence(judgement.matrix(reference), judgement.effect(reference)), judgement.groups
    reason = misordered(judgement.answers(reference), judgement.labels, classes, others, name, groups) or ignorance(found, classes, name)
    if reason:
        yield "fatal", reason
    elif not found.beats_the_largest:
        yield (
            "doubt",
            f"the {name} is right on {found.score:.1%} of the images, the constant answer “{classes[found.largest]}” on "
            f"{found.share:.1%}; look at the recall of each class ({found.balanced:.1%} on average), not at the score",
        )


def _of_classes(lost: Sequence[LostClass], name: str) -> Iterator[tuple[ReasonWeight, str]]:
    shown, doubtful = [one for one in lost if one.shown], [one for one in lost if not one.shown]
    if shown:
        yield "fatal", f"{'classes are' if len(shown) > 1 else 'a class is'} lost: {lost_words(shown, name)}"
    if doubtful:
        words = f"{'classes look' if len(doubtful) > 1 else 'a class looks'} lost: {lost_words(doubtful, name)}"
        yield "doubt", f"{words}; there are too few images to be sure. Test on more images"


def _of_seen(waived: str | None) -> Iterator[tuple[ReasonWeight, str]]:
    if waived is not None:
        yield "doubt", f"a model may have been trained on the test images, which proves nothing about new images: {waived}"


def _of_wish(wish: Wish | None) -> Iterator[tuple[ReasonWeight, str]]:
    if wish is None or wish.standing == "met":
        return
    words = wish_words(wish)
    assert words is not None
    weight: ReasonWeight = "fatal" if wish.standing == "missed" else "open" if wish.score < wish.min_score else "doubt"
    yield weight, words


def choice_words(choice: FormChoice, drop: PairedDrop, max_drop: float, form: Form, *, held_out: bool = True) -> str:
    """The reason why this graph ships, in a sentence; `form` is compared with float. Not `held_out`: the images chose layers."""
    budget, images = allowed(max_drop), f"{drop.images:,} labelled images"
    interval = f"95% interval {points(drop.low)} to {points(drop.high)}"
    chose = "" if held_out else ", which also selected the layers in float"
    measured = f"{form} {loses(drop.drop)} against float on {images}{chose} (drop: {interval})"
    ships = form if choice.int8 else "float"
    match choice.settled_by:
        case "class":
            return f"{ships} ships: a class is shown to be lost in {form}"
        case "interval":
            return f"{ships} ships: {measured}; the whole interval is {choice.standing} the budget of {budget}"
        case "agreement":
            rest = f"so few images that the drop is within {budget}, at 95% confidence"
            return f"{ships} ships: its answers differ from those of float on {rest}{chose and f' (on images{chose})'}"
        case "measured":
            side, other = ("within", "float") if choice.int8 else ("over", "int8")
            found = f"{measured}. That is {side} the budget of {budget}, but there are too few images to prove it"
            return f"{ships} ships, undecided: {found} (--when-undecided {other} ships {other})"
        case "limit":
            found = f"{measured}. There are too few images to prove that this is over the budget of {budget}"
            return f"{ships} ships, undecided: {found}, and float is larger or slower than was allowed (--when-undecided float ships float)"
        case "asked":
            return (
                f"{ships} ships, undecided, as --when-undecided says: {measured}. There are too few images to prove the budget of {budget}"
            )
