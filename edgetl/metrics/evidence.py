"""Do answers show that a model knows the classes at all? Two models that know nothing agree just as well. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05  # one-sided: how often a model that knows nothing may seem to know something


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the answers of a model show about it.

    Attributes:
        score: share of right answers.
        largest: the class with most images, `share` theirs: the score of a model that always answers that class.
        balanced: the mean recall of the classes that occur; 1 over their number is what any constant answer gets.
        occurring: how many classes occur among the labels.
        p: how likely such a mean recall is, or a better one, where answers have nothing to do with labels.
    """

    score: float
    largest: int
    share: float
    balanced: float
    occurring: int
    p: float

    @property
    def knows(self) -> bool:
        """Whether it is shown to know more than the labels' frequencies: all right, or a mean recall that is no chance."""
        return self.occurring > 1 and (self.score == 1 or self.p <= LEVEL)

    @property
    def beats_the_largest(self) -> bool:
        """Whether it is right more often than a model that always answers the largest class."""
        return self.score > self.share


def evidence(matrix: NDArray[np.int64], design_effect: float = 1.0) -> Evidence:
    """What a confusion matrix [k, k] (row: the true class, column: the answer) shows.

    The mean recall is compared with its distribution over all ways to hand the same answers out to the images
    (mean and variance of a linear permutation statistic: Hoeffding 1951, "A combinatorial central limit theorem", eq. 7,
    as normal). Unlike the score, it is no better for a constant answer where one class is most of the images. Where images come in
    groups, `design_effect` of the right answers (`edgetl.metrics.clusters`) widens the variance.

    Raises:
        ValueError: no images.
    """
    support, answered, hits = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    images, present = int(matrix.sum()), support > 0
    if not images:
        raise ValueError("expected at least one image, found an empty confusion matrix")
    balanced = float(np.mean(hits[present] / support[present]))
    largest = int(support.argmax())
    return Evidence(
        score=float(hits.sum()) / images,
        largest=largest,
        share=float(support[largest]) / images,
        balanced=balanced,
        occurring=int(present.sum()),
        p=_by_chance(balanced, support[present], answered[present], images, design_effect),
    )


def _by_chance(balanced: float, support: NDArray[np.int64], answered: NDArray[np.int64], images: int, design_effect: float) -> float:
    """The one-sided p-value of a mean recall; `support` and `answered` are of the classes that occur."""
    classes = len(support)
    mean = answered.sum() / images / classes
    squares = (answered / support).sum()  # of the scores 1 / support that pairs of one class have, and their sums over rows and columns
    rows = (answered**2 / support).sum() / images
    columns = answered.sum() / images
    variance = (squares - rows - columns + (answered.sum() / images) ** 2) / (images - 1) / classes**2 if images > 1 else 0.0
    if variance <= 1e-12:
        return 1.0  # one constant answer
    return 1 - NormalDist().cdf((balanced - mean) / math.sqrt(variance * design_effect))
