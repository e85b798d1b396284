"""The decision which graph ships, and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.core.artifacts import Form
from edgetl.metrics.choice import FormChoice, SettledBy, choose
from edgetl.metrics.clusters import Groups
from edgetl.metrics.parity import Standing, agreement, paired_drop, sqnr_db
from edgetl.metrics.recall import class_losses
from edgetl.quantization.observe.evidence import same_answers
from edgetl.quantization.record import QuantizationRecord
from edgetl.report.reference import Reference
from edgetl.report.ruling import choice_words


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision which graph ships, with its evidence. Scores and drop are None without labelled images.

    Attributes:
        shipped: by the rule of `edgetl.metrics.choice`; "mixed" where int8 left layers in float.
        within: whether the budget of the search is kept; None without one.
        judged_on: "val" images, or the "calibration" inputs, which can only show agreement.
        held_out: whether nothing of the quantization was fitted on the images that judge or chosen by them, but what ships.
        evidence: whether the images can tell answers apart; where not, `warnings` say why, and agreement proves nothing.
        verdict: "failed" where the labelled images show nothing, whatever the numbers are.
        reasons: why, and which classes are lost; sentences.
        standing: where the drop is to the budget; `settled_by` what then said which graph ships, `why` the same in a sentence.
        effective_images: how many independent images tell as much, where some are near-duplicates.
    """

    images: int
    agreement: float
    sqnr_db: float | None
    max_drop: float
    shipped: Form = "int8"
    within: bool | None = None
    judged_on: Literal["val", "calibration"] = "calibration"
    evidence: bool = True
    warnings: tuple[str, ...] | None = None
    float_score: float | None = None
    int8_score: float | None = None
    drop: float | None = None
    interval: tuple[float, float] | None = None
    verdict: Literal["failed"] | None = None
    reasons: tuple[str, ...] | None = None
    held_out: bool = True
    standing: Standing | None = None
    settled_by: SettledBy | None = None
    why: str | None = None
    effective_images: float | None = None


def by_calibration(record: QuantizationRecord, max_drop: float) -> Decision:
    """What the calibration images that report show: those that fitted or chose would show too much."""
    found = record.reported
    return Decision(
        images=found.images,
        agreement=found.agreement,
        sqnr_db=found.sqnr_db,
        max_drop=max_drop,
        shipped="mixed" if record.floating else "int8",
        within=record.within,
        evidence=not record.warnings,
        warnings=record.warnings or None,
        held_out=found.held_out,
    )


def by_agreement(reference: Reference, candidate: NDArray[np.float32], record: QuantizationRecord, max_drop: float) -> Decision:
    """What int8's outputs `candidate`, [n, k], show beside the float model's, whatever the labels are."""
    task, wanted = reference.task, reference.outputs
    sqnr = sqnr_db(wanted, candidate)
    return Decision(
        images=len(wanted),
        agreement=agreement(task.answers(wanted), task.answers(candidate)),
        sqnr_db=sqnr if math.isfinite(sqnr) else None,
        max_drop=max_drop,
        shipped="mixed" if record.floating else "int8",
        within=record.within,
        evidence=not record.warnings,
        warnings=record.warnings or None,
        held_out=record.floating_by != "evaluation",
    )


def by_labels(
    alike: Decision,
    reference: Reference,
    candidate: NDArray[np.float32],
    *,
    when_undecided: Literal["measured", "float", "int8"],
    float_fits: bool,
    groups: Groups | None,
    others: tuple[str, ...] | None,
) -> Decision:
    """`alike`, decided by labelled images: `candidate` is what int8 gives for them, [n, k].

    Args:
        alike: what is known without labels.
        reference: the float model's answers, and the labels.
        candidate: int8's outputs.
        when_undecided: what ships where the images are too few to decide.
        float_fits: whether the float model keeps the limits of size and time that were given.
        groups: of near-duplicates among the images, int64 [n].
        others: another order of the class names that is as likely.
    """
    task, wanted, labels, max_drop = reference.task, reference.outputs, reference.labels, alike.max_drop
    before, after = task.correct(wanted, labels), task.correct(candidate, labels)
    found = paired_drop(before, after, groups=groups)
    lost = class_losses(labels, before, after, max_drop, groups=groups)
    nothing = reference.shows_nothing(others, groups)
    choice: FormChoice = choose(
        found,
        max_drop,
        differ=task.answers(wanted) != task.answers(candidate),
        groups=groups,
        class_lost=any(loss.shown for loss in lost),
        when_undecided=when_undecided,
        float_fits=float_fits,
    )
    return replace(
        alike,
        shipped=alike.shipped if choice.int8 else "float",
        judged_on="val",
        evidence=not same_answers(wanted),
        float_score=task.score(wanted, labels),
        int8_score=task.score(candidate, labels),
        drop=found.drop,
        interval=(found.low, found.high),
        verdict="failed" if nothing else None,
        reasons=(*([nothing] if nothing else []), *(reference.told(loss) for loss in lost)) or None,
        standing=choice.standing,
        settled_by=choice.settled_by,
        why=choice_words(choice, found, max_drop, alike.shipped, held_out=alike.held_out),
        effective_images=found.effective_images if found.design_effect > 1 else None,
    )
