"""Laws of what answers show about a model, against counting and all permutations."""

from __future__ import annotations

from itertools import permutations
from statistics import NormalDist

import numpy as np
import pytest

from edgetl.metrics.classification import confusion
from edgetl.metrics.evidence import evidence


def test_mean_and_variance_are_those_of_all_ways_to_hand_the_answers_out() -> None:
    labels, answers = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2, 0])

    def mean_recall(given: np.ndarray) -> float:
        return float(np.mean([np.mean(given[labels == one] == one) for one in range(3)]))

    every = [mean_recall(answers[list(order)]) for order in permutations(range(7))]
    expected = 1 - NormalDist(float(np.mean(every)), float(np.std(every))).cdf(mean_recall(answers))
    assert evidence(confusion(labels, answers, 3)).p == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("matrix", [[[96, 0], [4, 0]], [[5, 0], [5, 0]], [[0, 4], [4, 0]], [[4, 1], [2, 3]], [[25, 25], [25, 25]]])
def test_what_answers_alike_whatever_it_sees_or_no_better_knows_nothing(matrix: list[list[int]]) -> None:
    assert not evidence(np.array(matrix)).knows


@pytest.mark.parametrize("matrix", [[[5, 0], [0, 5]], [[1, 0], [0, 1]], [[5, 0], [1, 4]], [[96, 0], [1, 3]], [[86, 10], [0, 4]]])
def test_a_good_model_is_believed_on_few_images_and_where_classes_are_rare(matrix: list[list[int]]) -> None:
    assert evidence(np.array(matrix)).knows


def test_a_model_that_is_right_less_often_than_one_constant_answer_is_told_apart() -> None:
    assert not evidence(np.array([[86, 10], [0, 4]])).beats_the_largest and evidence(np.array([[96, 0], [1, 3]])).beats_the_largest


def test_images_of_one_class_show_nothing() -> None:
    assert not evidence(np.array([[7, 0], [0, 0]])).knows


def test_a_model_that_knows_nothing_is_believed_in_about_one_of_twenty_cases() -> None:
    rng, believed = np.random.default_rng(0), 0
    for _ in range(1000):
        labels = rng.choice(5, 60, p=[0.4, 0.3, 0.1, 0.1, 0.1])
        believed += evidence(confusion(labels, rng.choice(5, 60, p=rng.dirichlet(np.ones(5))), 5)).knows
    assert believed <= 80
