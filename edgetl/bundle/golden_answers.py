"""What golden.json says of the answer to an image: the likeliest classes with their confidences, and the decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.golden_stages import PROBABILITY

TOP = 5  # classes named with their confidences


def likeliest(confidences: NDArray[np.float32], classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The likeliest classes, best first, with confidences [classes] of six digits, which every way to compute softmax gives."""
    best = np.argsort(-confidences, kind="stable")[:TOP]
    return tuple((classes[index], round(float(confidences[index]), 6)) for index in best)


def golden_decision(answer: str, confidences: NDArray[np.float32], rule: DecisionRule | None) -> str | None:
    """The class or "unknown", as the rule decides; without a rule the answer.

    None where rounding alone would decide: the first confidence is as near to the second, or to the threshold, as two ways to compute
    softmax are to each other.
    """
    first, *others = np.sort(confidences)[::-1].tolist()
    borders = [*others[:1], *([] if rule is None or rule.threshold is None else [rule.threshold])]
    if any(abs(first - border) <= PROBABILITY for border in borders):
        return None
    return answer if rule is None else rule.decide(answer, first)


def decision_of_equals(classes: int, rule: DecisionRule | None) -> str | None:
    """The decision on equal confidences, which shows an ignored threshold where no golden image is unknown; None: any will do."""
    if rule is None or rule.threshold is None or rule.threshold <= 1 / classes + PROBABILITY:
        return None
    return rule.unknown
