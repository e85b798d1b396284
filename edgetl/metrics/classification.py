"""Per-class tables of a classifier. numpy only: scikit-learn gives the same numbers (tests), and takes a second to import."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: fractions in [0, 1], 0 where nothing can be divided; `support` is its number of images."""

    precision: float
    recall: float
    f1: float
    support: int


def confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Labels [n], answers [n] -> int64 [k, k]; row: the true class, column: the answer.

    Raises:
        ValueError: lengths differ, or an index lies outside 0..classes-1.
    """
    if labels.shape != answers.shape or labels.ndim != 1:
        raise ValueError(f"expected labels and answers of one length, found shapes {labels.shape} and {answers.shape}")
    for name, indices in (("labels", labels), ("answers", answers)):
        if indices.size and (indices.min() < 0 or indices.max() >= classes):
            raise ValueError(f"expected {name} in 0..{classes - 1}, found {indices.min()}..{indices.max()}")
    return np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(matrix: NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Confusion matrix [k, k] -> k rows of precision, recall, F1 (harmonic mean of the two) and support."""
    hits, support, answered = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall = _ratio(hits, answered), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + answered)
    return tuple(
        ClassScore(precision=float(p), recall=float(r), f1=float(f), support=int(n))
        for p, r, f, n in zip(precision, recall, f1, support, strict=True)
    )


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """The mean F1 over the classes that occur, as label or as answer: confusion matrix [k, k] -> [0, 1]."""
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    scores = np.array([row.f1 for row in per_class(matrix)])
    return float(scores[occurs].mean()) if occurs.any() else 0.0


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
