"""One label per image. Outputs are a row [k] for each image (`edgetl.tasks.meaning` says what they mean), targets are class indices [n]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetl.tasks.meaning import ONE_OUTPUT, THRESHOLDS, Activation, Meaning, meaning_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One label per image out of `classes`; the one place that turns outputs into answers.

    Attributes:
        meaning: of the outputs.
    """

    classes: tuple[str, ...]
    meaning: Meaning = "logits"
    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "top1"

    @property
    def outputs(self) -> int:
        """The width of the head."""
        return 1 if self.meaning in ONE_OUTPUT else len(self.classes)

    def reading(self, outputs: NDArray[np.float32], activation: Activation | None = None) -> Classification:
        """The same task with the meaning that `outputs` [n, k] of a graph that ends in `activation` have."""
        return replace(self, meaning=meaning_of(outputs, activation))

    def of_model(self, name: str, meanings: Mapping[str, Meaning]) -> Classification:
        """The same task with the meaning of one model's outputs; logits where `meanings` has none for it."""
        return replace(self, meaning=meanings.get(name, "logits"))

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Outputs [n, k] -> the answer to each image, int64 [n]; two models agree where these are equal."""
        if self.meaning in ONE_OUTPUT:
            return np.asarray(outputs[:, 0] > THRESHOLDS[self.meaning], dtype=np.int64)
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)

    def correct(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Outputs [n, k], labels [n] -> whether each answer is right, bool [n]; the score is their mean."""
        right: NDArray[np.bool_] = self.answers(outputs) == labels
        return right

    def score(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Top-1 accuracy, a fraction in [0, 1]."""
        return float(self.correct(outputs, labels).mean())

    def confidences(self, outputs: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
        """Outputs [n, k] -> a number in [0, 1] for each class [n, classes]; probabilities, but for `sigmoids`.

        Logits are divided by `temperature` first (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).
        """
        if temperature != 1 and self.meaning in ("logits", "log_probabilities", "logit"):
            of_logits: Meaning = "logit" if self.meaning == "logit" else "logits"
            scaled = np.asarray(outputs / np.float32(temperature), dtype=np.float32)
            return replace(self, meaning=of_logits).confidences(scaled)
        match self.meaning:
            case "logits" | "log_probabilities":  # the softmax of log probabilities is what they are the logarithms of
                shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
                return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
            case "probabilities" | "sigmoids":
                return np.asarray(np.clip(outputs, 0, 1), dtype=np.float32)
            case "sigmoid":
                return _of_two(np.clip(outputs[:, 0], 0, 1))
            case "logit":
                return _of_two(0.5 * (1 + np.tanh(0.5 * outputs[:, 0])))  # the sigmoid, without overflow

    def logits(self, outputs: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Outputs [n, k] -> what softmax makes their confidences of [n, classes]; None where no temperature can be applied to them."""
        match self.meaning:
            case "logits" | "log_probabilities":
                return outputs
            case "logit":
                return np.concatenate([np.zeros_like(outputs), outputs], axis=1)
            case _:
                return None

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


def _of_two(second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probability of the second class [n] -> those of both [n, 2]."""
    return np.stack([1 - second, second], axis=1).astype(np.float32)
