"""The loss of a student: the teacher's answers and features, and the labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.data.unlabelled import NOBODY
from edgetl.settings import DistillSettings
from edgetl.tasks.classification import Classification
from edgetl.training.balance import Balancing
from edgetl.training.job import TrainingBatch
from edgetl.training.teaching import Mixing, Taught, Teaching


@dataclass(frozen=True, kw_only=True)
class Views:
    """Decoded training images, and the random views of them that teacher and student look at."""

    train: PixelSet
    augment: Augment
    balance: Balancing

    @property
    def shares(self) -> Tensor | None:
        """How often each training image is drawn, [n]; None: each once an epoch. Those without labels count as the mean of the others."""
        labelled = self.balance.shares
        return None if labelled is None else torch.cat([labelled, torch.ones(len(self.train) - len(labelled))])


def hard_loss(task: Classification, outputs: Tensor, labels: Tensor, mixing: Mixing | None, per_class: Tensor | None) -> Tensor:
    """The task's loss on the images of the batch that have labels; mixed views have mixed labels."""
    known = labels != NOBODY
    if mixing is None:
        return task.loss(outputs[known], labels[known], weights=per_class) if bool(known.any()) else outputs.new_zeros(())
    known = known & known[mixing.partner]
    shares = mixing(F.one_hot(labels.clamp_min(0), task.outputs).float())
    return task.loss(outputs[known], shares[known], weights=per_class) if bool(known.any()) else outputs.new_zeros(())


def shrunk(x: Tensor, size: int) -> Tensor:
    """[n, 3, h, h] -> [n, 3, size, size], antialiased."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False).contiguous(
        memory_format=torch.channels_last
    )


@dataclass(frozen=True, kw_only=True)
class StudentLoss:
    """The loss of a batch: the labels' and the teacher's answers' parts and, where the settings say so, that of the features.

    Attributes:
        model: the student that learns.
        teach: what the teacher gives for a batch.
        task: what the outputs mean.
        settings: with their defaults written out.
        side: of the student's input, pixels.
        weights: of the classes, [k]; None: all alike.
    """

    model: Taught
    teach: Teaching
    task: Classification
    settings: DistillSettings
    side: int
    weights: Tensor | None

    def __call__(self, _net: nn.Module, batch: TrainingBatch) -> Tensor:
        """The loss, a scalar."""
        s, task, hard_weight = self.settings, self.task, self.settings.hard_weight or 0.0
        per_class = None if self.weights is None else self.weights.to(batch.x.device)
        mixing = Mixing.of(batch, s.mix) if s.mix else None
        x = mixing(batch.x) if mixing else batch.x
        features, outputs = self.model.observed.both(shrunk(x, self.side))
        hard = hard_loss(task, outputs, batch.labels, mixing, per_class) if hard_weight else outputs.new_zeros(())
        if hard_weight == 1:
            return hard
        answers = self.teach(batch, x)
        per_image = None if per_class is None else torch.where(batch.labels == NOBODY, 1.0, per_class[batch.labels])
        soft = task.distillation_loss(outputs, answers.logits, s.temperature, per_image)
        total = hard_weight * hard + (1 - hard_weight) * soft
        return total + s.features * self.model.feature_loss(features, answers.features) if s.features else total
