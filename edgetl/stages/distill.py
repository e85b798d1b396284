"""distill: images and the teacher give the student."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.canonical import ADDED
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.core.workspace import SCRATCH
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.pixel_cache import keeping
from edgetl.data.unlabelled import NOBODY, together
from edgetl.models.build import build
from edgetl.models.checkpoint import CheckpointInfo, load_model, read_checkpoint, save_checkpoint
from edgetl.models.finite import refuse_not_finite_tensors
from edgetl.models.heads import feature_count, freeze_blocks, head_layer, set_linear
from edgetl.models.loading import load_into
from edgetl.models.prune import Pruned
from edgetl.models.state import read_state
from edgetl.models.weights import Weights
from edgetl.settings import DistillSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import balancing
from edgetl.training.device import on_device, pinned
from edgetl.training.features import features_of
from edgetl.training.fit import evaluate, fit
from edgetl.training.inherit import inherit
from edgetl.training.job import Group, Recipe, TrainingJob
from edgetl.training.linear import fit_linear
from edgetl.training.logit_adjustment import adjust_logits
from edgetl.training.mirror import settled
from edgetl.training.score import balanced_score_with, score_with
from edgetl.training.student_loss import StudentLoss, Views, shrunk
from edgetl.training.teaching import Live, Remembered, Taught, Teaching, WatchedNetwork


@dataclass(frozen=True, kw_only=True)
class Student:
    """The distilled network and its score on val, a fraction (None: the teacher itself); `val_balanced`: mean recall, if that chose."""

    checkpoint: Checkpoint
    val_score: float | None
    best_epoch: int | None
    val_balanced: float | None = None


@dataclass(frozen=True, kw_only=True)
class Start:
    """The student before its first epoch; `pruned` is the share of the architecture's parameters that it keeps."""

    model: nn.Module
    arch: str
    pruned: float | None = None


@dataclass(frozen=True, kw_only=True)
class Distill(Stage[Student]):
    """Train a small network to give the teacher's answers.

    Soft targets of Hinton et al. 2015 beside the labels; teacher and student look at the same augmented view
    (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", section 3). The student is a
    new network, the teacher itself, pruned, with the weights it inherits, or another pretrained network, pruned or whole.

    Raises:
        InputError: a teacher of other classes; weights or teacher's answers that are not finite.
        DivergedError: loss or weights are not finite any more.
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 12
    teacher: Checkpoint
    data: Images  # the parts train and val
    settings: DistillSettings  # with an architecture by name, not "auto"
    weights: Weights | None = None
    unlabelled: Images | None = field(default=None, metadata=ADDED)  # the teacher answers on them too
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Student:
        """Write `checkpoint.safetensors`, and `log.csv` unless the student is the teacher itself.

        Raises:
            InputError: the teacher has other classes than the data.
        """
        path = out / "checkpoint.safetensors"
        teacher = read_checkpoint(self.teacher.path)
        if teacher.classes != self.data.classes:
            raise InputError(
                f"expected a teacher with the classes of the data ({', '.join(self.data.classes)}), "
                f"found one of {', '.join(teacher.classes)}. Fine-tune on this data first"
            )
        if self.settings.arch == "same":
            refuse_not_finite_tensors(read_state(self.teacher.path), self.teacher.path.name)
            shutil.copyfile(self.teacher.path, path)
            return Student(checkpoint=Checkpoint.of(path), val_score=None, best_epoch=None)
        preprocess = teacher.preprocess.at(self.settings.image_size or teacher.preprocess.side)
        with pinned(self.runtime) as device, keeping(self.runtime):
            views = self._views(teacher, preprocess)
            network = on_device(load_model(self.teacher.path), device)
            start = self.start(network, teacher, preprocess, views, device, out)
            teach = self._teaching(network, views, teacher.preprocess, out)
            widths = (feature_count(start.model), feature_count(network)) if self.settings.resolved().features else None
            torch.manual_seed(self.settings.seed)
            job = self._job(Taught(start.model, widths), teach, views, preprocess)
            result = fit(job, out, device)
            if (shift := adjust_logits(start.model, views, preprocess, self.settings.seed, device)) is not None:
                say(f"distill: logit of the rarest class raised by {shift:.2f}, fitted on small crops of the training images")
                seen = evaluate(job, device)
                result = replace(result, best_score=seen.score, best_balanced=seen.balanced)
        save_checkpoint(
            path,
            model=start.model,
            arch=start.arch,
            classes=self.data.classes,
            preprocess=preprocess,
            seen=self._seen().beside(self.weights.record if self.weights else None).beside(teacher.seen),
            provenance={**teacher.provenance, "stage": self.name, "teacher": f"{teacher.title} sha256:{self.teacher.sha256}"},
            pruned=start.pruned,
        )
        kept, balanced = Checkpoint.of(path), result.best_balanced
        return Student(checkpoint=kept, val_score=result.best_score, best_epoch=result.best_epoch, val_balanced=balanced)

    def _seen(self) -> SeenImages:
        """The images that the student has seen, those without labels among them."""
        seen = self.data.seen()
        return seen if self.unlabelled is None else seen.also(looks=self.unlabelled.looks, train=self.unlabelled.hashes)

    def _views(self, teacher: CheckpointInfo, student_sees: Preprocess) -> Views:
        """Views are made at the larger of the two input sizes, and resized for the network with the smaller input."""
        s, train = self.settings, together(self.data.only("train"), self.unlabelled)
        largest = max(teacher.preprocess, student_sees, key=lambda p: p.side)
        flip = settled(s.flip, teacher.provenance, self.data.flip)
        pixels = pixel_set(train, largest, margin=s.augment != "none")
        balance = balancing(s.balance, pixels.labels[pixels.labels != NOBODY], len(self.data.classes))
        return Views(train=pixels, augment=augment_for(train, largest, s.augment, flip), balance=balance)

    def start(self, network: nn.Module, teacher: CheckpointInfo, sees: Preprocess, views: Views, device: torch.device, out: Path) -> Start:
        """The student before training: the teacher, pruned, or a network with weights from elsewhere or random ones, pruned or whole."""
        s = self.settings
        if s.inherits:
            pruned = self._pruned(network, teacher.arch, sees, views, device)
            return Start(model=pruned.model, arch=teacher.arch, pruned=pruned.share * (teacher.pruned or 1.0))
        torch.manual_seed(s.seed)
        model = build(s.arch, len(self.data.classes), sees.side)
        if self.weights:
            report = load_into(model, self.weights, self.data.classes, partial=s.partial_weights)
            say(f"distill: {report.line()}")
            if report.head:
                self._fit_head(model, sees, views, device, out)
        if s.share is None:
            return Start(model=model, arch=s.arch)
        pruned = self._pruned(on_device(model, device).eval(), s.arch, sees, views, device)
        return Start(model=pruned.model, arch=s.arch, pruned=pruned.share)

    def _pruned(self, network: nn.Module, arch: str, sees: Preprocess, views: Views, device: torch.device) -> Pruned:
        share = self.settings.share
        assert share is not None
        return inherit(
            network,
            arch,
            share,
            train=views.train,
            augment=views.augment,
            sees=sees,
            seed=self.settings.seed,
            device=device,
            shares=views.shares,
        )

    def _fit_head(self, model: nn.Module, sees: Preprocess, views: Views, device: torch.device, out: Path) -> None:
        """Fit a linear head for the data's classes on pretrained features, so that pruning measures importance for these classes."""
        layer = head_layer(model)
        if not isinstance(layer, nn.Linear):
            return
        train = self.data.only("train")
        features = features_of(model, train, sees, device, scratch(out) / "student-features", title="student features of train")
        weights = views.balance.class_weights
        linear = fit_linear(
            [features],
            train.labels,
            len(self.data.classes),
            weights=None if weights is None else weights.numpy(),
            seed=self.settings.seed,
            threads=self.runtime.threads,
            groups=train.groups,
        )
        set_linear(layer, torch.from_numpy(linear.weight), torch.from_numpy(linear.bias))

    def _learning(self, model: Taught) -> list[nn.Parameter]:
        """All parameters but those of the first blocks, which are frozen, in place: they tell edges and colors, of whatever images."""
        freeze_blocks(model.student, self.settings.frozen_for(len(self.data.only("train"))))
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def _rounds(self) -> int | None:
        """After how many epochs the same views come again; None: never."""
        images = len(self.data.only("train")) + (len(self.unlabelled) if self.unlabelled else 0)
        answers = self.settings.resolved().answers
        return answers if answers and answers < self.settings.epochs_for(images) else None

    def _teaching(self, teacher: nn.Module, views: Views, teacher_sees: Preprocess, out: Path) -> Teaching:
        """The teacher's answers, computed when they are needed, and kept if views repeat."""
        watched = bool(self.settings.resolved().features)
        live = Live(teacher=WatchedNetwork(teacher, watched=watched), shrink=lambda x: shrunk(x, teacher_sees.side))
        rounds = self._rounds()
        if rounds is None:
            return live
        features = feature_count(teacher) if watched else 0
        file, outputs = scratch(out) / "answers", len(self.data.classes)
        return Remembered(live, file, rounds=rounds, images=len(views.train), outputs=outputs, features=features)

    def _job(self, model: Taught, teach: Teaching, views: Views, student_sees: Preprocess) -> TrainingJob:
        s, task, weights = self.settings.resolved(), Classification(classes=self.data.classes), views.balance.loss_weights
        return TrainingJob(
            title="distill",
            model=model,
            groups=[Group(parameters=self._learning(model))],
            train=views.train,
            val=pixel_set(self.data.only("val"), student_sees, margin=False),
            augment=views.augment,
            preprocess=student_sees,
            loss=StudentLoss(model=model, teach=teach, task=task, settings=s, side=student_sees.side, weights=weights),
            score=score_with(task),
            recipe=Recipe.of(s, len(views.train)),
            rounds=self._rounds(),
            start_counts=s.inherits or s.pretrained,
            keep_last=s.pretrained,
            shares=views.shares,
            class_weights=views.balance.class_weights,
            balanced=balanced_score_with(task, views.balance),
            val_groups=self.data.only("val").groups,
        )


def scratch(out: Path) -> Path:
    """The folder for temporary files."""
    (folder := out / SCRATCH).mkdir(exist_ok=True)
    return folder
