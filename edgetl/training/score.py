"""The task's score on torch tensors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from edgetl.tasks.classification import Classification


def score_with(task: Classification) -> Callable[[Tensor, Tensor], float]:
    """(outputs [n, k], labels [n]) -> the task's primary metric."""
    return lambda outputs, labels: task.score(outputs.numpy(), labels.numpy())
