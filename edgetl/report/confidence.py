"""Calibration of the confidences on the test images, precision and coverage of the bundle's threshold: part of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.decision import DecisionRule
from edgetl.metrics.abstention import Reach
from edgetl.metrics.clusters import Groups, distinct
from edgetl.metrics.confidence import FEWEST_IMAGES, error_by_chance, expected_calibration_error
from edgetl.metrics.parity import share_interval
from edgetl.report.numbers import Count, Exact, Finite, Share
from edgetl.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class ConfidenceReport(Exact):
    """The bundle's decision rule on the test images; it was fitted on `fitted_on` validation images.

    Attributes:
        ece_before, ece_after: the expected calibration error, without and with the temperature; fractions.
        ece_by_chance, ece_by_chance_most: the error of calibrated confidences on as many images, in the mean and in 95 of 100 cases;
            near-duplicates are right or wrong together.
        precision: the share of the given answers that are right; `precision_ci95` its interval. None where none was given.
        coverage: the share of the images that get an answer.
        answered: their number.
        reach: whether the wanted precision was reached on the validation images.
        groups: how many images there are if near-duplicates count once; None where none look alike.
    """

    temperature: Finite
    fitted_on: Count
    images: Count
    ece_before: Share
    ece_after: Share
    ece_by_chance: Share
    ece_by_chance_most: Share
    threshold: Share | None
    wanted_precision: Share
    reach: Reach
    precision: Share | None
    precision_ci95: tuple[Share, Share] | None
    coverage: Share
    answered: Count
    groups: Count | None = None


def confidence_report(
    rule: DecisionRule, task: Classification, outputs: NDArray[np.float32], labels: NDArray[np.int64], groups: Groups | None = None
) -> ConfidenceReport:
    """The rule applied to `outputs` [n, k] of images with `labels` [n]; `groups` [n] numbers near-duplicates."""
    right = task.correct(outputs, labels)
    before, after = (task.confidences(outputs, t).max(axis=1) for t in (1.0, rule.temperature))
    given = after >= np.float32(rule.threshold or 0.0)
    chance, once = error_by_chance(after, groups), distinct(len(labels), groups)
    return ConfidenceReport(
        temperature=rule.temperature,
        fitted_on=rule.images,
        images=len(labels),
        ece_before=expected_calibration_error(before, right),
        ece_after=expected_calibration_error(after, right),
        ece_by_chance=chance.mean,
        ece_by_chance_most=chance.most,
        threshold=rule.threshold,
        wanted_precision=rule.wanted_precision,
        reach=rule.reach,
        precision=float(right[given].mean()) if given.any() else None,
        precision_ci95=share_interval(right[given], None if groups is None else groups[given]) if given.any() else None,
        coverage=float(given.mean()),
        answered=int(given.sum()),
        groups=once if once < len(labels) else None,
    )


def confidence_words(found: ConfidenceReport) -> list[str]:
    """The same in sentences."""
    return [_honesty(found), _threshold(found)]


def _honesty(found: ConfidenceReport) -> str:
    if found.images < FEWEST_IMAGES:
        return f"{found.images} test images are too few to measure the calibration error of its confidences."
    over = "more than chance explains" if found.ece_after > found.ece_by_chance_most else "within chance"
    temperature = (
        f"{100 * found.ece_before:.1f} without the temperature {found.temperature:g}, which was fitted on {found.fitted_on} val images"
        if found.temperature != 1
        else f"no temperature was fitted on the {found.fitted_on} val images"
    )
    alike = "" if found.groups is None else f" of {found.groups:,} scenes, each right or wrong as a whole"
    return (
        f"The expected calibration error of its confidences is {100 * found.ece_after:.1f} points ({temperature}). That is {over}: on "
        f"{found.images:,} images{alike}, perfect confidences would show {100 * found.ece_by_chance:.1f} points on average, and at most "
        f"{100 * found.ece_by_chance_most:.1f} in 95 of 100 cases."
    )


def _threshold(found: ConfidenceReport) -> str:
    wanted = f"{100 * found.wanted_precision:g}%"
    if found.threshold is None:
        why = "val has too few images to choose a threshold" if found.reach == "too few images" else "no threshold reaches that on val"
        return f"No answer is “unknown”: {wanted} of the given answers should be right (--min-precision), but {why}."
    few = "" if found.reach == "shown" else f", too few to prove it ({found.fitted_on})"
    told = (
        f"Below a confidence of {found.threshold:.2f} the app answers “unknown”: this threshold was chosen on val images so that {wanted} "
        f"of the answers given there are right{few}."
    )
    if found.precision is None or found.precision_ci95 is None:
        return f"{told} Every test image is below it."
    low, high = (100 * share for share in found.precision_ci95)
    missed = f" That is shown to be less than {wanted}." if found.precision_ci95[1] < found.wanted_precision else ""
    return (
        f"{told} Of {found.images:,} test images {found.answered:,} get an answer, and {100 * found.precision:.1f}% of these answers are "
        f"right (95% interval {low:.1f} to {high:.1f}).{missed}"
    )
