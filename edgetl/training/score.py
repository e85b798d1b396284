"""The task's score on torch tensors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from edgetl.tasks.classification import Classification
from edgetl.training.balance import Balancing, mean_recall


def score_with(task: Classification) -> Callable[[Tensor, Tensor], float]:
    """(outputs [n, k], labels [n]) -> the task's primary metric."""
    return lambda outputs, labels: task.score(outputs.numpy(), labels.numpy())


def balanced_score_with(task: Classification, balance: Balancing) -> Callable[[Tensor, Tensor], float] | None:
    """(outputs [n, k], labels [n]) -> the mean over the classes of the score of each class's images; None where they are balanced."""
    if balance.kind == "none":
        return None
    return lambda outputs, labels: mean_recall(task.correct(outputs.numpy(), labels.numpy()), labels.numpy())
