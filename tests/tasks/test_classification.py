"""Laws of the classification task, against formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgetl.tasks.classification import Classification

TASK = Classification(classes=("a", "b", "c"))
RNG = np.random.default_rng(0)
STUDENT, TEACHER = (RNG.normal(size=(5, 3)).astype(np.float32) for _ in range(2))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_loss_is_hintons(temperature: float) -> None:
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    found = TASK.distillation_loss(torch.from_numpy(STUDENT), torch.from_numpy(TEACHER), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_distillation_loss_of_equal_answers_is_zero() -> None:
    same = torch.from_numpy(TEACHER)
    assert TASK.distillation_loss(same, same + 7.0, 4.0).item() == pytest.approx(0.0, abs=1e-6)


def test_gradients_keep_their_size_at_high_temperature() -> None:
    sizes = []
    for temperature in (20.0, 40.0):
        student = torch.from_numpy(STUDENT).clone().requires_grad_()
        TASK.distillation_loss(student, torch.from_numpy(TEACHER), temperature).backward()
        assert student.grad is not None
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_smoothed_loss_mixes_in_the_uniform_target() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    target = 0.8 * np.eye(3)[labels] + 0.2 / 3
    expected = -(target * np.log(softmax(STUDENT))).sum(axis=1).mean()
    assert TASK.loss(torch.from_numpy(STUDENT), torch.from_numpy(labels), 0.2).item() == pytest.approx(expected, rel=1e-5)


def test_score_counts_right_answers() -> None:
    outputs = np.array([[2, 1, 0], [0, 3, 1], [0, 0, 1], [5, 0, 9]], dtype=np.float32)
    labels = np.array([0, 1, 2, 0])
    assert TASK.score(outputs, labels) == 0.75
    assert TASK.answers(outputs).tolist() == [0, 1, 2, 2]
    assert TASK.confidences(outputs).sum(axis=1) == pytest.approx(np.ones(4), rel=1e-6)
