"""Laws of what outputs mean, against formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Activation, Meaning, in_words, meaning_of

LOGITS = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
SOFTMAX = (np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum(1, keepdims=True)).astype(np.float32)
ONE = LOGITS[:, :1]
SIGMOID = (1 / (1 + np.exp(-ONE.astype(np.float64)))).astype(np.float32)


@pytest.mark.parametrize(
    ("outputs", "activation", "meaning"),
    [
        (LOGITS, "linear", "logits"),
        (LOGITS, None, "logits"),
        (SOFTMAX, "softmax", "probabilities"),
        (SOFTMAX, None, "probabilities"),  # made of Exp, ReduceSum and Div
        (np.round(SOFTMAX * 255) / 255, "softmax", "probabilities"),  # rounded by int8
        (SOFTMAX * 4, "softmax", "logits"),  # over another axis than the classes
        (np.log(SOFTMAX), "log_softmax", "log_probabilities"),
        (1 / (1 + np.exp(-LOGITS)), "sigmoid", "sigmoids"),
        (SIGMOID, "sigmoid", "sigmoid"),
        (SIGMOID, None, "sigmoid"),
        (ONE, None, "logit"),
        (SIGMOID, "linear", "logit"),  # a linear layer whose few answers happen to lie within [0, 1]
    ],
)
def test_the_operator_and_the_numbers_say_what_outputs_mean(
    outputs: NDArray[np.float32], activation: Activation | None, meaning: Meaning
) -> None:
    assert meaning_of(outputs.astype(np.float32), activation) == meaning


@pytest.mark.parametrize(
    ("outputs", "meaning"),
    [(LOGITS, "logits"), (SOFTMAX, "probabilities"), (np.log(SOFTMAX), "log_probabilities")],
)
def test_every_form_of_the_same_answers_has_the_same_confidences(outputs: NDArray[np.float32], meaning: Meaning) -> None:
    task = Classification(classes=tuple("abcd"), meaning=meaning)
    np.testing.assert_allclose(task.confidences(outputs), SOFTMAX, atol=1e-6)
    assert (task.answers(outputs) == SOFTMAX.argmax(1)).all()


def test_rounded_log_probabilities_still_sum_to_one() -> None:
    """As int8 gives them: the same confidences here, in the image graph and in every client."""
    rounded = np.round(np.log(SOFTMAX) * 2) / 2
    found = Classification(classes=tuple("abcd"), meaning="log_probabilities").confidences(rounded.astype(np.float32))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, np.exp(rounded) / np.exp(rounded).sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("outputs", "meaning"), [(SIGMOID, "sigmoid"), (ONE, "logit")])
def test_one_output_is_the_second_of_two_classes(outputs: NDArray[np.float32], meaning: Meaning) -> None:
    task = Classification(classes=("blue", "red"), meaning=meaning)
    np.testing.assert_allclose(task.confidences(outputs), np.hstack([1 - SIGMOID, SIGMOID]), atol=1e-6)
    assert (task.answers(outputs) == (ONE[:, 0] > 0)).all() and task.outputs == 1
    assert (task.answers(outputs) == task.confidences(outputs).argmax(1)).all()


def test_sigmoids_are_their_own_confidences() -> None:
    values = (1 / (1 + np.exp(-LOGITS))).astype(np.float32)
    task = Classification(classes=tuple("abcd"), meaning="sigmoids")
    np.testing.assert_array_equal(task.confidences(values), values)
    assert "do not sum to 1" in in_words("sigmoids")
