"""The answers of a float model to labelled images, with which int8 is compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.data.tensors import TensorSource
from edgetl.metrics.classification import confusion
from edgetl.metrics.clusters import Groups, design_effect
from edgetl.metrics.evidence import evidence
from edgetl.metrics.recall import ClassLoss
from edgetl.report.ruling import ignorance, misordered
from edgetl.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The float model's answers to the images that judge."""

    source: TensorSource
    outputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    task: Classification

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; numbers where they have none."""
        return self.task.classes or tuple(str(index) for index in range(max(2, self.outputs.shape[1])))

    def shows_nothing(self, others: tuple[str, ...] | None, groups: Groups | None) -> str | None:
        """Why labelled images prove nothing about what answers like this model; None where they may."""
        answers = self.task.answers(self.outputs)
        found = evidence(confusion(self.labels, answers, len(self.names)), design_effect(answers == self.labels, groups))
        return misordered(answers, self.labels, self.names, others, "float model", groups) or ignorance(found, self.names, "float model")

    def told(self, loss: ClassLoss) -> str:
        """What happened to a class."""
        seems = "" if loss.shown else "; too few images to be sure"
        return (
            f"int8 loses the class “{self.names[loss.label]}”: of {loss.images} images float has {loss.before} right, "
            f"int8 {loss.after}{seems}"
        )
