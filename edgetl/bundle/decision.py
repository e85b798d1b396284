"""From outputs to a decision: calibrated confidences, and "unknown" if the highest is too low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgetl.metrics.abstention import Reach, fit_threshold
from edgetl.metrics.clusters import Groups
from edgetl.metrics.confidence import expected_calibration_error, fit_temperature
from edgetl.tasks.classification import Classification

UNKNOWN: Literal["unknown"] = "unknown"


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """The `decision` block of manifest.json: fitted on what the shipped graph gives for validation images, never on test images.

    Attributes:
        temperature: divides logits before softmax; 1 where there are too few images, or the outputs are no logits.
        ece_before, ece_after: the expected calibration error on the same images, without and with the temperature; fractions.
        threshold: an answer of less confidence is `unknown`; None: every answer is given.
        wanted_precision: of the answers that are given, a fraction.
        precision, coverage: what the threshold gives on the same images; fractions.
        reach: whether the wanted precision is reached (`edgetl.metrics.abstention`).
        images: how many there were.
    """

    temperature: float
    ece_before: float
    ece_after: float
    threshold: float | None
    wanted_precision: float
    precision: float | None
    coverage: float
    reach: Reach
    unknown: Literal["unknown"] = UNKNOWN
    images: int

    def decide(self, answer: str, confidence: float) -> str:
        """The answer, or `unknown` where its confidence is below the threshold."""
        return answer if self.threshold is None or confidence >= self.threshold else self.unknown


def fit_decision(
    outputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    task: Classification,
    wanted_precision: float,
    *,
    groups: Groups | None = None,
) -> DecisionRule:
    """The rule for a graph that gives `outputs` [n, k] for images of `labels` [n]; `groups` [n] of near-duplicates among them."""
    logits, right = task.logits(outputs), task.correct(outputs, labels)
    temperature = 1.0 if logits is None else fit_temperature(logits, labels, groups)
    before, after = (task.confidences(outputs, t).max(axis=1) for t in (1.0, temperature))
    found = fit_threshold(after, right, wanted_precision, groups=groups)
    return DecisionRule(
        temperature=temperature,
        ece_before=_rounded(expected_calibration_error(before, right)),
        ece_after=_rounded(expected_calibration_error(after, right)),
        threshold=found.value,
        wanted_precision=wanted_precision,
        precision=None if found.precision is None else _rounded(found.precision),
        coverage=_rounded(found.coverage),
        reach=found.reach,
        images=len(labels),
    )


def _rounded(share: float) -> float:
    """Four decimals: what processors round differently does not reach a bundle's bytes."""
    return round(share, 4)
