"""A kill at a chosen moment, for stages that go on where they were; frozen features, for stages that take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgetl.core.artifacts import FileArtifact
from edgetl.data.images import Images
from edgetl.models.build import build
from edgetl.models.loading import load_into
from edgetl.models.weights import Weights
from edgetl.training.features import features_of

from ..conftest import Stop, Told


class StopIn(Told):
    """A listener that interrupts at the `steps`th step of the bars with one title."""

    def __init__(self, title: str, steps: int) -> None:
        super().__init__()
        self.title, self.left = title, steps

    def moved(self, title: str, steps: float, note: str) -> None:
        wanted = title == self.title
        self.left -= bool(wanted and steps)
        if wanted and self.left == 0:
            raise Stop


def features_file(images: Images, weights: Weights, folder: Path) -> FileArtifact:
    """What the pretrained network makes of images of all parts, as fine-tuning leaves it."""
    assert weights.preprocess is not None
    model = build("cifar_resnet16", len(images.classes), weights.preprocess.side)
    load_into(model, weights, images.classes)
    found = features_of(model, images, weights.preprocess, torch.device("cpu"), folder / "computed", title="features")
    np.save(path := folder / "given.npy", found)
    return FileArtifact.of(path)
