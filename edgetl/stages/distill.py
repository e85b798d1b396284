"""distill: images and the teacher give the student."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.core.artifacts import Checkpoint
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.stage import Stage
from edgetl.data.augment import Augment
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.kept import keeping
from edgetl.data.pixels import PixelSet
from edgetl.models.build import build
from edgetl.models.checkpoint import CheckpointInfo, load_model, read_checkpoint, save_checkpoint
from edgetl.models.finite import refuse_mute, refuse_not_finite
from edgetl.models.state import read_state
from edgetl.models.weights import Weights, load_into
from edgetl.settings import DistillSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import Balancing, balancing
from edgetl.training.device import pinned, placed
from edgetl.training.fit import Group, Job, Recipe, fit
from edgetl.training.inherit import inherit
from edgetl.training.score import balanced_score_with, score_with


@dataclass(frozen=True, kw_only=True)
class Student:
    """The distilled network and its score on val, a fraction in [0, 1] (None: the teacher itself)."""

    checkpoint: Checkpoint
    val_score: float | None
    best_epoch: int | None


@dataclass(frozen=True, kw_only=True)
class Views:
    """Decoded training images, and the random views of them that teacher and student look at."""

    train: PixelSet
    augment: Augment
    balance: Balancing


@dataclass(frozen=True, kw_only=True)
class Start:
    """The student before its first epoch; `pruned` is its share of what its architecture has otherwise."""

    model: nn.Module
    arch: str
    pruned: float | None = None


@dataclass(frozen=True, kw_only=True)
class Distill(Stage[Student]):
    """Train a small network to give the teacher's answers.

    Soft targets of Hinton et al. 2015 beside the labels; teacher and student look at the same augmented view
    (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", section 3). The student is a
    new network, or the teacher itself, pruned, with the weights it inherits.

    Raises:
        InputError: a teacher of other classes; weights or teacher's answers that are not finite.
        DivergedError: loss or weights are not finite any more.
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 5
    teacher: Checkpoint
    data: Images  # the parts train and val
    settings: DistillSettings  # with an architecture by name, not "auto"
    weights: Weights | None = None
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Student:
        """Write `checkpoint.safetensors`, and `log.csv` unless the student is the teacher itself."""
        path = out / "checkpoint.safetensors"
        teacher = read_checkpoint(self.teacher.path)
        if teacher.classes != self.data.classes:
            raise InputError(
                f"expected a teacher of the data's classes ({', '.join(self.data.classes)}), "
                f"found one of {', '.join(teacher.classes)}. Fine-tune on this data first"
            )
        if self.settings.arch == "same":
            refuse_not_finite(read_state(self.teacher.path), self.teacher.path.name)
            shutil.copyfile(self.teacher.path, path)
            return Student(checkpoint=Checkpoint.of(path), val_score=None, best_epoch=None)
        preprocess = teacher.preprocess.at(self.settings.image_size or teacher.preprocess.side)
        with pinned(self.runtime) as device, keeping(self.runtime):
            views = self._views(teacher.preprocess, preprocess)
            network = placed(load_model(self.teacher.path), device)
            start = self.start(network, teacher, preprocess, views, device)
            job = self._job(start.model, network, views, teacher.preprocess, preprocess)
            result = fit(job, out, device)
        save_checkpoint(
            path,
            model=start.model,
            arch=start.arch,
            classes=self.data.classes,
            preprocess=preprocess,
            seen=self.data.seen().beside(teacher.seen),
            provenance={**teacher.provenance, "stage": self.name, "teacher": f"{teacher.title} sha256:{self.teacher.sha256}"},
            pruned=start.pruned,
        )
        return Student(checkpoint=Checkpoint.of(path), val_score=result.best_score, best_epoch=result.best_epoch)

    def _views(self, teacher_sees: Preprocess, student_sees: Preprocess) -> Views:
        """Views are made at the larger of the two input sizes; whoever needs a smaller one gets it shrunk."""
        s, train = self.settings, self.data.only("train")
        largest = max(teacher_sees, student_sees, key=lambda p: p.side)
        pixels = pixel_set(train, largest, margin=s.augment != "none")
        balance = balancing(s.balance, pixels.labels, len(self.data.classes))
        return Views(train=pixels, augment=augment_for(train, largest, s.augment, s.flip), balance=balance)

    def start(self, network: nn.Module, teacher: CheckpointInfo, sees: Preprocess, views: Views, device: torch.device) -> Start:
        """The student before training: the teacher, pruned, or a new network with weights from elsewhere or random ones."""
        s = self.settings
        if s.inherits:
            pruned = inherit(
                network,
                teacher.arch,
                s.keep,
                train=views.train,
                augment=views.augment,
                sees=sees,
                seed=s.seed,
                device=device,
                shares=views.balance.shares,
            )
            return Start(model=pruned.model, arch=teacher.arch, pruned=pruned.share * (teacher.pruned or 1.0))
        torch.manual_seed(s.seed)
        model = build(s.arch, len(self.data.classes), sees.side)
        if self.weights:
            say(f"distill: {load_into(model, self.weights, self.data.classes, partial=s.partial_weights).line()}")
        return Start(model=model, arch=s.arch)

    def _job(self, model: nn.Module, teacher: nn.Module, views: Views, teacher_sees: Preprocess, student_sees: Preprocess) -> Job:
        s, task, weights = self.settings, Classification(classes=self.data.classes), views.balance.loss_weights

        def loss(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
            per_class = None if weights is None else weights.to(x.device)
            outputs = net(shrunk(x, student_sees.side)).float()
            hard = task.loss(outputs, labels, weights=per_class)
            if s.hard_weight == 1:
                return hard
            with torch.no_grad():
                soft = teacher(shrunk(x, teacher_sees.side)).float()
            refuse_mute(soft, "the teacher")
            per_image = None if per_class is None else per_class[labels]
            return s.hard_weight * hard + (1 - s.hard_weight) * task.distillation_loss(outputs, soft, s.temperature, per_image)

        return Job(
            title="distill",
            model=model,
            groups=[Group(parameters=list(model.parameters()))],
            train=views.train,
            val=pixel_set(self.data.only("val"), student_sees, margin=False),
            augment=views.augment,
            preprocess=student_sees,
            loss=loss,
            score=score_with(task),
            recipe=Recipe.of(s, len(views.train)),
            start_counts=s.inherits,
            shares=views.balance.shares,
            class_weights=views.balance.class_weights,
            balanced=balanced_score_with(task, views.balance),
        )


def shrunk(x: Tensor, size: int) -> Tensor:
    """[n, 3, h, h] -> [n, 3, size, size], antialiased."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False).contiguous(
        memory_format=torch.channels_last
    )
