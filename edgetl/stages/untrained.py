"""untrained: the name of a network gives one with random weights, pruned where asked for, whose latency can be measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.models.build import build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.checkpoint import save_checkpoint
from edgetl.settings import Runtime
from edgetl.training.device import threaded
from edgetl.training.inherit import narrowed_alike

IMAGES = 8  # of noise, whose activations the norms are fitted to


@dataclass(frozen=True, kw_only=True)
class UntrainedNetwork:
    """A network with random weights."""

    checkpoint: Checkpoint


@dataclass(frozen=True, kw_only=True)
class Untrained(Stage[UntrainedNetwork]):
    """Make a network of the widths that a student will have; all channels matter alike to what prunes it.

    Attributes:
        arch: a name that `models.build.build` takes.
        keep: the share of its parameters that pruning leaves; None: all.
        classes: names of the outputs.
        preprocess: from image to input.

    Raises:
        InputError: a network that cannot be pruned, or not that far.
    """

    name: ClassVar[str] = "untrained"
    version: ClassVar[int] = 1
    arch: str
    keep: float | None
    classes: tuple[str, ...]
    preprocess: Preprocess
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> UntrainedNetwork:
        """Write `checkpoint.safetensors`."""
        path, side, outputs = out / "checkpoint.safetensors", self.preprocess.side, len(self.classes)
        with threaded(self.runtime.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            whole = build(self.arch, outputs, side).eval()
            model = whole if self.keep is None else narrowed_alike(whole, self.arch, side, self.keep)
            fit_norms(model, torch.randn(IMAGES, 3, side, side))
        save_checkpoint(
            path,
            model=model,
            arch=self.arch,
            classes=self.classes,
            preprocess=self.preprocess,
            seen=SeenImages(split="", parts={}),
            provenance={"stage": self.name},
            pruned=None if self.keep is None else parameter_count(model) / parameter_count(whole),
        )
        return UntrainedNetwork(checkpoint=Checkpoint.of(path))


def fit_norms(model: nn.Module, x: torch.Tensor) -> None:
    """Set the statistics of all BatchNorms, in place, to those of `x` [n, 3, s, s]: random weights let activations vanish or explode."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.train().momentum = 1.0
    with torch.no_grad():
        model(x)
    model.eval()
