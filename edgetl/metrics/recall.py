"""Which classes did a candidate lose? The drop of each class's recall, judged for all classes together. numpy only.

A class of few images hardly moves the score, so that a budget on the score lets it go whole. Each class is therefore judged
on its own images too, against a wider budget: `class_budget`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgetl.metrics.clusters import Groups, design_effect
from edgetl.metrics.parity import score as tango_score

LEVEL = 0.05  # one-sided, of all classes together
CLASS_BUDGET_TIMES = 2.0  # times the budget of the score, for one class
AT_LEAST = 0.1  # of its recall may go in any case: what classes of a few dozen images lose and win by chance
MANY = 30  # images from which on Tango's approximation holds


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """One class whose recall fell.

    Attributes:
        label: its index.
        images: how many of it were judged.
        before, after: images of it that reference and candidate answer right.
        p: how likely such a loss is in a class that loses no more than its budget; of one class alone.
        shown: whether it is no chance, with regard to how many classes were looked at.
    """

    label: int
    images: int
    before: int
    after: int
    p: float
    shown: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether so much of it is gone that nobody should be told nothing: all of what was right, or half of it and two images."""
        fell = self.before - self.after
        return self.before > 0 and (self.after == 0 or (fell >= 2 and 2 * self.after <= self.before))


def class_budget(max_drop: float) -> float:
    """How much of its recall one class may lose where the score may lose `max_drop`; fractions."""
    return max(AT_LEAST, CLASS_BUDGET_TIMES * max_drop)


def class_losses(
    labels: NDArray[np.int64],
    reference: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    max_drop: float,
    *,
    groups: Groups | None = None,
) -> tuple[ClassLoss, ...]:
    """The classes that are shown to be lost, or that look like it (`shown`, `doubtful`), the surest first.

    Whether one is shown is decided by Holm's procedure (1979, Scandinavian Journal of Statistics 6:65-70) over all classes
    that occur, at 5% one-sided: if no class loses more than its budget, any is named in at most 5 of 100 cases.

    Args:
        labels: int64 [n].
        reference: whether it answers right, bool [n].
        candidate: the same of the other.
        max_drop: the budget of the score, a fraction.
        groups: int64 [n], where images come in groups: a class then has as many images as would tell as much alone.
    """
    gains = float((candidate & ~reference).mean())
    budget = class_budget(max_drop)
    judged = [_judged(int(label), labels == label, reference, candidate, budget, gains, groups) for label in np.unique(labels)]
    found = [loss for loss in _holm(sorted(judged, key=lambda loss: (loss.p, loss.label))) if loss.shown or loss.doubtful]
    return tuple(found)


def _judged(
    label: int,
    of_it: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    budget: float,
    gains: float,
    groups: Groups | None,
) -> ClassLoss:
    before, after = reference[of_it], candidate[of_it]
    effect = design_effect(before.astype(np.int64) - after, None if groups is None else groups[of_it])
    lost, gained, images = int((before & ~after).sum() / effect), math.ceil((after & ~before).sum() / effect), len(before) / effect
    p = p_value(lost, gained, math.ceil(images), budget, gains)
    return ClassLoss(label=label, images=len(before), before=int(before.sum()), after=int(after.sum()), p=p)


def p_value(lost: int, gained: int, images: int, budget: float, gains: float) -> float:
    """The probability of losing so many images of a class, or more, if its true drop is `budget`.

    Exact binomial, each image being lost with the probability that the budget and the gains make: those of the class, or of all
    classes (`gains`, a fraction of the images) where that is more. From `MANY` images on also Tango's score test, which knows
    that gains are chance too; the larger p-value counts. How often this errs: docs/adr/0017.
    """
    if (lost - gained) / images <= budget:
        return 1.0
    exact = binomial_tail(lost, images, min(1.0, budget + max(gained / images, gains)))
    if images < MANY:
        return exact
    return max(exact, 1 - NormalDist().cdf(tango_score(budget, lost, gained, images)))


def shown_least(found: int, images: int, others_found: int, other_images: int, classes: int) -> bool:
    """Whether fewer images of the class that looks weakest are found than chance explains.

    Fisher's exact test (1935, "The logic of inductive inference"), one-sided, at 5% over the number of classes.

    Args:
        found: images of the class that are found.
        images: of the class.
        others_found: images of all other classes that are found.
        other_images: of all other classes.
        classes: among which it is the weakest.
    """

    def log_ways(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    right, total = found + others_found, images + other_images
    least = max(0, right - other_images)
    terms = (log_ways(right, k) + log_ways(total - right, images - k) - log_ways(total, images) for k in range(least, found + 1))
    return math.fsum(map(math.exp, terms)) <= LEVEL / classes


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """The probability of at least so many successes, for a probability in (0, 1]."""
    if probability >= 1:
        return 1.0

    def log_term(n: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(n + 1) - math.lgamma(trials - n + 1)
        return ways + n * math.log(probability) + (trials - n) * math.log1p(-probability)

    return min(1.0, math.fsum(math.exp(log_term(n)) for n in range(successes, trials + 1)))


def _holm(ranked: Sequence[ClassLoss]) -> list[ClassLoss]:
    """`ranked` from the smallest p-value on, those marked that stand with regard to their number."""
    marked: list[ClassLoss] = []
    standing = True
    for rank, loss in enumerate(ranked):
        standing = standing and loss.p <= LEVEL / (len(ranked) - rank)
        marked.append(replace(loss, shown=standing))
    return marked
