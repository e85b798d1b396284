"""Per-class tables against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from edgetl.metrics.classification import confusion, macro_f1, per_class


def answers(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, 300)  # the last class never occurs as a label
    return labels, np.where(rng.random(300) < 0.7, labels, rng.integers(0, classes - (seed % 2), 300))


@pytest.mark.parametrize("seed", range(4))
def test_tables_equal_scikit_learns(seed: int) -> None:
    labels, given = answers(6, seed)
    matrix = confusion(labels, given, 6)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(labels, given, labels=range(6)))
    expected = metrics.precision_recall_fscore_support(labels, given, labels=range(6), zero_division=0)
    rows = per_class(matrix)
    np.testing.assert_allclose([(r.precision, r.recall, r.f1, r.support) for r in rows], np.transpose(expected))
    assert macro_f1(matrix) == pytest.approx(metrics.f1_score(labels, given, average="macro", zero_division=0))


def test_indices_outside_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected answers in 0..2, found 0..3"):
        confusion(np.array([0, 1]), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="of one length"):
        confusion(np.array([0, 1]), np.array([0]), 3)


def test_no_images_score_nothing() -> None:
    empty = np.array([], dtype=np.int64)
    assert macro_f1(confusion(empty, empty, 2)) == 0.0
