"""One label per image. Outputs are logits [n, k], targets are class indices [n]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One label per image out of `classes`."""

    classes: tuple[str, ...]
    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "top1"

    @property
    def outputs(self) -> int:
        """The width of the head."""
        return len(self.classes)

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Logits [n, k] -> the answer to each image, int64 [n]; two models agree where these are equal."""
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)

    def correct(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Logits [n, k], labels [n] -> whether each answer is right, bool [n]; the score is their mean."""
        right: NDArray[np.bool_] = self.answers(outputs) == labels
        return right

    def score(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Top-1 accuracy, a fraction in [0, 1]."""
        return float(self.correct(outputs, labels).mean())

    def confidences(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [n, k] -> softmax probabilities [n, k]."""
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)

    def loss(self, outputs: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7); `weights` [k] of the classes, or all alike."""
        from torch.nn import functional as F

        return F.cross_entropy(outputs, labels, weight=weights, label_smoothing=smoothing)

    def distillation_loss(self, student: Tensor, teacher: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
        """KL divergence of the tempered answers, times temperature squared so that gradients keep their size.

        `weights` [n] of the images, or all alike. Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
        """
        from torch.nn import functional as F

        log_student = F.log_softmax(student / temperature, dim=1)
        log_teacher = F.log_softmax(teacher / temperature, dim=1)
        if weights is None:
            return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
        each = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
        return (weights * each).sum() / weights.sum() * temperature**2
