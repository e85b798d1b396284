"""finetune: images and a pretrained network give the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.stage import Stage
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.models.build import build
from edgetl.models.checkpoint import save_checkpoint
from edgetl.models.heads import parameter_blocks, split_head
from edgetl.models.weights import Weights, load_into
from edgetl.settings import FinetuneSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.device import pinned
from edgetl.training.fit import Group, Job, Recipe, fit, resumes
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.score import score_with


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The fine-tuned network and its score on val, a fraction in [0, 1]."""

    checkpoint: Checkpoint
    val_score: float
    best_epoch: int


@dataclass(frozen=True, kw_only=True)
class Finetune(Stage[Teacher]):
    """Train a pretrained network on new classes: first its new head on frozen features, then all of it.

    Earlier layers learn at lower rates (discriminative fine-tuning; Howard & Ruder 2018, section 3.2).
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1
    data: Images  # the parts train and val
    preprocess: Preprocess  # how images are prepared for the network
    settings: FinetuneSettings  # with an architecture by name, not "auto"
    weights: Weights | None = None
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Teacher:
        """Write `checkpoint.safetensors` and `log.csv`."""
        with pinned(self.runtime) as device:
            torch.manual_seed(self.settings.seed)
            model = self._network()
            result = fit(self._job(model, out, device), out, device)
        path = out / "checkpoint.safetensors"
        save_checkpoint(
            path,
            model=model,
            arch=self.settings.arch,
            classes=self.data.classes,
            preprocess=self.preprocess,
            seen=self.data.seen(),
            provenance=self._provenance(),
        )
        return Teacher(checkpoint=Checkpoint.of(path), val_score=result.best_score, best_epoch=result.best_epoch)

    def _network(self) -> nn.Module:
        model = build(self.settings.arch, len(self.data.classes), self.preprocess.size)
        if self.weights:
            say(f"finetune: {load_into(model, self.weights, self.data.classes, partial=self.settings.partial_weights).line()}")
        return model

    def _provenance(self) -> dict[str, str]:
        weights = self.weights
        return {
            "stage": self.name,
            "data": self.data.name,
            "weights": f"{weights.source} sha256:{weights.sha256}" if weights else "none (random)",
        }

    def _job(self, model: nn.Module, out: Path, device: torch.device) -> Job:
        """The training of the whole network; the head is fitted on the way, unless an earlier attempt came further."""
        s, preprocess, task = self.settings, self.preprocess, Classification(classes=self.data.classes)
        train_part, val = self.data.only("train"), pixel_set(self.data.only("val"), preprocess, margin=False)
        if s.head_epochs and self.weights and not resumes(out):
            body, head = split_head(model)
            fit_head(
                body,
                head,
                train=pixel_set(train_part, preprocess, margin=False),
                val=val,
                preprocess=preprocess,
                loss=lambda outputs, labels: task.loss(outputs, labels, s.label_smoothing),
                score=score_with(task),
                recipe=HeadRecipe(epochs=s.head_epochs, lr=s.head_lr, weight_decay=s.weight_decay, batch_size=256, seed=s.seed),
                device=device,
            )
        blocks = parameter_blocks(model)
        return Job(
            title="finetune",
            model=model,
            groups=[Group(parameters=block, scale=s.layer_decay ** (len(blocks) - 1 - i)) for i, block in enumerate(blocks)],
            train=pixel_set(train_part, preprocess, margin=s.augment != "none"),
            val=val,
            augment=augment_for(train_part, preprocess, s.augment, s.flip),
            preprocess=preprocess,
            loss=lambda net, x, y: task.loss(net(x), y, s.label_smoothing),
            score=score_with(task),
            recipe=Recipe.of(s, len(train_part)),
            start_counts=bool(s.head_epochs and self.weights),
        )
