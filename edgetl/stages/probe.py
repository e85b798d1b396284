"""probe: images and a pretrained network give a linear head on frozen features, and its score out of fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.stage import Stage
from edgetl.core.workspace import SCRATCH
from edgetl.data.images import Images
from edgetl.data.pixel_cache import keeping
from edgetl.models.build import build, trained_name
from edgetl.models.checkpoint import save_checkpoint
from edgetl.models.heads import head_layer, set_linear, with_head
from edgetl.models.loading import load_into
from edgetl.models.weights import Weights
from edgetl.settings import Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import balancing, mean_recall, worth_of
from edgetl.training.device import pinned
from edgetl.training.features import features_of
from edgetl.training.fit import standard_error
from edgetl.training.linear import fit_linear


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """A network with a new head, and how far frozen features carry it.

    Attributes:
        checkpoint: the network with a head that was fitted on all images.
        score: of heads on images that they were not fitted on, a fraction in [0, 1]; the mean over the classes where they are unbalanced.
        standard_error: of the score; images that look alike count once.
        images: that the score is of.
        parameters: of the network.
    """

    checkpoint: Checkpoint
    score: float
    standard_error: float
    images: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Probe(Stage[ProbeResult]):
    """Fit a linear head on frozen features, five times, each time without a fifth of the images, and once on all of them.

    Raises:
        InputError: features that are not finite, or weights of another network.
    """

    name: ClassVar[str] = "probe"
    version: ClassVar[int] = 2
    data: Images
    preprocess: Preprocess
    arch: str
    weights: Weights
    seed: int
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> ProbeResult:
        """Write `checkpoint.safetensors`.

        Raises:
            InputError: the network does not end in a linear layer.
        """
        (scratch := out / SCRATCH).mkdir(exist_ok=True)
        with pinned(self.runtime) as device, keeping(self.runtime):
            torch.manual_seed(self.seed)
            model = build(self.arch, len(self.data.classes), self.preprocess.side)
            load_into(model, self.weights, self.data.classes)
            model = with_head(model, "linear")
            features = features_of(model, self.data, self.preprocess, device, scratch / "features", title=f"features of {self.arch}")
        labels, task = self.data.labels, Classification(classes=self.data.classes)
        weights = balancing("auto", torch.from_numpy(labels), task.outputs).class_weights
        each = None if weights is None else weights.numpy()
        groups, threads = self.data.groups, self.runtime.threads
        linear = fit_linear([features], labels, task.outputs, weights=each, seed=self.seed, threads=threads, groups=groups)
        layer = head_layer(model)
        if not isinstance(layer, nn.Linear):
            raise InputError(f"expected a network that ends in a linear layer, found {self.arch}")
        set_linear(layer, torch.from_numpy(linear.weight), torch.from_numpy(linear.bias))
        judged = labels[linear.chosen]
        right = task.correct(linear.unseen, judged)
        score = float(right.mean()) if each is None else mean_recall(right, judged)
        path = out / "checkpoint.safetensors"
        save_checkpoint(
            path,
            model=model,
            arch=trained_name(self.arch, "linear"),
            classes=self.data.classes,
            preprocess=self.preprocess,
            seen=self.data.seen().beside(self.weights.record),
            provenance={"stage": self.name, "data": self.data.name, "weights": f"{self.weights.source} sha256:{self.weights.sha256}"},
        )
        return ProbeResult(
            checkpoint=Checkpoint.of(path),
            score=score,
            standard_error=standard_error(score, worth_of(judged, groups[linear.chosen], balanced=each is None)),
            images=len(judged),
            parameters=sum(p.numel() for p in model.parameters()),
        )
