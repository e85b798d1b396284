"""The inputs of fine-tuning: the network, decoded images, frozen features, and the treatment of rare classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.workspace import SCRATCH
from edgetl.data.augment import Augment
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.pixels import PixelSet, to_input
from edgetl.models.build import build, trained_name
from edgetl.models.heads import split_head, with_head
from edgetl.models.loading import load_into
from edgetl.models.weights import Weights
from edgetl.settings import FinetuneSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import Balancing, balancing
from edgetl.training.features import Features, frozen_features
from edgetl.training.mirror import Mirroring, looked_at, mirroring


@dataclass(frozen=True, kw_only=True)
class Material:
    """Images are decoded and features computed once, when first asked for; `out` is the folder of the stage."""

    data: Images
    preprocess: Preprocess
    settings: FinetuneSettings
    weights: Weights | None
    runtime: Runtime
    out: Path
    device: torch.device

    @cached_property
    def model(self) -> nn.Module:
        """The network, with the pretrained weights and a new head."""
        s = self.settings
        model = build(s.arch, len(self.data.classes), self.preprocess.side)
        if self.weights:
            say(f"finetune: {load_into(model, self.weights, self.data.classes, partial=self.settings.partial_weights).line()}")
        return with_head(model, s.head)

    @cached_property
    def arch(self) -> str:
        """The name with which a checkpoint builds the same network."""
        return trained_name(self.settings.arch, self.settings.head)

    @cached_property
    def task(self) -> Classification:
        """What the outputs mean."""
        return Classification(classes=self.data.classes)

    @cached_property
    def train(self) -> PixelSet:
        """Decoded, with a margin for random views."""
        return pixel_set(self.data.only("train"), self.preprocess, margin=self.settings.augment != "none")

    @cached_property
    def plain(self) -> PixelSet:
        """The center views of the training images."""
        return pixel_set(self.data.only("train"), self.preprocess, margin=False)

    @cached_property
    def val(self) -> PixelSet:
        """Decoded, center views."""
        return pixel_set(self.data.only("val"), self.preprocess, margin=False)

    @cached_property
    def augment(self) -> Augment:
        """The random views."""
        s = self.settings
        return augment_for(self.data.only("train"), self.preprocess, s.augment, self.mirroring.keeps)

    @cached_property
    def mirroring(self) -> Mirroring:
        """Whether left and right may be exchanged: as the settings say, or as the photos do, by their frozen features."""
        if self.settings.flip is not None:
            known = not self.settings.flip and not self.data.flip
            return Mirroring(keeps=self.settings.flip, reason="set for this data set" if known else "set by the user")
        if self.weights is None:
            return Mirroring(keeps=self.data.flip, reason="the default, because a test needs pretrained weights")
        s, chosen = self.settings, looked_at(self.plain.labels.numpy(), self.settings.seed, self.data.only("train").groups)
        pixels = self.plain.pixels[torch.from_numpy(chosen)].flip(3)
        mirrored = self._features("mirrored", "mirrored images", lambda rows: to_input(pixels[rows], self.preprocess), len(chosen))
        labels, names = self.plain.labels.numpy()[chosen], self.data.classes
        return mirroring(self.center_features[chosen], mirrored, labels, names, seed=s.seed, threads=self.runtime.threads)

    @cached_property
    def center_features(self) -> Features:
        """What the frozen network makes of the center views of the training images, [n, d]."""
        return self._features("0", "train", lambda rows: to_input(self.plain.pixels[rows], self.preprocess), len(self.plain))

    @cached_property
    def val_features(self) -> Features:
        """The same of the images of val."""
        return self._features("val", "val", lambda rows: to_input(self.val.pixels[rows], self.preprocess), len(self.val))

    def write_features(self, path: Path) -> None:
        """The features of train and val, float32 [n, d], in the order of the data, as an .npy: cross-validation takes them."""
        train = np.array([ref.part == "train" for ref in self.data.refs])
        shape = (len(train), self.center_features.shape[1])
        whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        whole[train], whole[~train] = self.center_features, self.val_features
        whole.flush()

    def _features(self, name: str, of: str, inputs: Callable[[slice], Tensor], count: int) -> Features:
        (scratch := self.out / SCRATCH).mkdir(exist_ok=True)
        body, _ = split_head(self.model)
        return frozen_features(body, inputs, count, self.device, scratch / f"features-{name}", title=f"teacher features of {of}")

    @cached_property
    def balance(self) -> Balancing:
        """The treatment of rare classes."""
        return balancing(self.settings.balance, self.train.labels, self.task.outputs)

    @property
    def per_class(self) -> Tensor | None:
        """Weights of the classes, [k], where they are unbalanced."""
        return self.balance.class_weights

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The task's; where rare images come more often already, they weigh no more."""
        weights = self.balance.loss_weights
        return self.task.loss(outputs, labels, self.settings.label_smoothing, None if weights is None else weights.to(outputs.device))
