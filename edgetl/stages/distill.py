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
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.kept import keeping
from edgetl.models.build import build
from edgetl.models.checkpoint import load_model, read_checkpoint, save_checkpoint
from edgetl.models.weights import Weights, load_into
from edgetl.settings import DistillSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.device import pinned, placed
from edgetl.training.fit import Group, Job, Recipe, fit
from edgetl.training.score import score_with


@dataclass(frozen=True, kw_only=True)
class Student:
    """The distilled network and its score on val, a fraction in [0, 1] (None: the teacher itself)."""

    checkpoint: Checkpoint
    val_score: float | None
    best_epoch: int | None


@dataclass(frozen=True, kw_only=True)
class Distill(Stage[Student]):
    """Train a small network to give the teacher's answers.

    Soft targets of Hinton et al. 2015 beside the labels; teacher and student look at the same augmented view
    (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", section 3).
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 2
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
            shutil.copyfile(self.teacher.path, path)
            return Student(checkpoint=Checkpoint.of(path), val_score=None, best_epoch=None)
        preprocess = teacher.preprocess.at(self.settings.image_size or teacher.preprocess.size)
        with pinned(self.runtime) as device, keeping(self.runtime):
            torch.manual_seed(self.settings.seed)
            model = build(self.settings.arch, len(self.data.classes), preprocess.size)
            if self.weights:
                say(f"distill: {load_into(model, self.weights, self.data.classes).line()}")
            result = fit(self._job(model, teacher.preprocess, preprocess, device), out, device)
        save_checkpoint(
            path,
            model=model,
            arch=self.settings.arch,
            classes=self.data.classes,
            preprocess=preprocess,
            seen=self.data.seen().beside(teacher.seen),
            provenance={**teacher.provenance, "stage": self.name, "teacher": f"{teacher.arch} sha256:{self.teacher.sha256}"},
        )
        return Student(checkpoint=Checkpoint.of(path), val_score=result.best_score, best_epoch=result.best_epoch)

    def _job(self, model: nn.Module, teacher_sees: Preprocess, student_sees: Preprocess, device: torch.device) -> Job:
        """Views are made at the larger of the two input sizes; whoever needs a smaller one gets it shrunk."""
        s, task = self.settings, Classification(classes=self.data.classes)
        teacher = placed(load_model(self.teacher.path), device)
        views = max(teacher_sees, student_sees, key=lambda p: p.size)
        train = self.data.only("train")

        def loss(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                soft = teacher(shrunk(x, teacher_sees.size)).float()
            outputs = net(shrunk(x, student_sees.size)).float()
            return s.hard_weight * task.loss(outputs, labels) + (1 - s.hard_weight) * task.distillation_loss(outputs, soft, s.temperature)

        return Job(
            title="distill",
            model=model,
            groups=[Group(parameters=list(model.parameters()))],
            train=pixel_set(train, views, margin=s.augment != "none"),
            val=pixel_set(self.data.only("val"), student_sees, margin=False),
            augment=augment_for(train, views, s.augment, s.flip),
            preprocess=student_sees,
            loss=loss,
            score=score_with(task),
            recipe=Recipe.of(s, len(train)),
        )


def shrunk(x: Tensor, size: int) -> Tensor:
    """[n, 3, h, h] -> [n, 3, size, size], antialiased."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False).contiguous(
        memory_format=torch.channels_last
    )
