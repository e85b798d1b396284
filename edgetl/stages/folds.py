"""folds: cross-validation of a linear head on a pretrained network's frozen features, those that fine-tuning began with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from edgetl.core.artifacts import FileArtifact
from edgetl.core.errors import InputError
from edgetl.core.files import write_json
from edgetl.core.progress import say, track
from edgetl.core.stage import Stage
from edgetl.data.images import Images
from edgetl.report.folds import Folds
from edgetl.settings import Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import balancing, mean_recall
from edgetl.training.linear import fit_linear, folds_of


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """`folds.json`."""

    folds: FileArtifact


@dataclass(frozen=True, kw_only=True)
class Crossval(Stage[Crossed]):
    """Fit a head on all folds but one, its penalty chosen among those; score it on that one; each fold once.

    What looks alike is in one fold.

    Raises:
        InputError: a class with fewer images, or groups of images that look alike, than folds.
    """

    name: ClassVar[str] = "crossval"
    version: ClassVar[int] = 2
    data: Images  # the parts train and val
    folds: int
    seed: int
    features: FileArtifact | None = None  # of these images, float32 [n, d]; None: not computed yet, and `run` needs them
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Crossed:
        """Write `folds.json`."""
        labels, classes, groups = self.data.labels, len(self.data.classes), self.data.groups
        counts = self.refuse_few()
        assert self.features is not None
        features = np.load(self.features.path, mmap_mode="r")
        task, balance = Classification(classes=self.data.classes), balancing("auto", torch.from_numpy(labels), classes)
        weights = None if balance.class_weights is None else balance.class_weights.numpy()
        fold, scores = folds_of(labels, self.seed, self.folds, groups), []
        with track("cross-validate linear head", self.folds, "fold") as bar:
            for number in range(self.folds):
                inside, outside = fold != number, fold == number
                head = fit_linear(
                    [np.ascontiguousarray(features[inside])],
                    labels[inside],
                    classes,
                    weights=weights,
                    seed=self.seed,
                    threads=self.runtime.threads,
                    groups=groups[inside],
                )
                right = task.correct(head(features[outside]), labels[outside])
                scores.append(float(right.mean()) if weights is None else mean_recall(right, labels[outside]))
                bar.advance(note=f"{scores[-1]:.3f}")
        found = Folds(
            metric="top1" if weights is None else "mean recall",
            scores=tuple(scores),
            mean=float(np.mean(scores)),
            spread=float(np.std(scores, ddof=1)),
            images=len(labels),
            rarest=int(counts.min()),
        )
        say(found.line())
        write_json(path := out / "folds.json", asdict(found))
        return Crossed(folds=FileArtifact.of(path))

    def refuse_few(self) -> NDArray[np.int64]:
        """The number of images of each class, int64 [k], where each has enough for as many folds.

        Raises:
            InputError: a class with fewer images, or groups of images that look alike, than folds.
        """
        labels, classes, groups = self.data.labels, len(self.data.classes), self.data.groups
        counts = np.bincount(labels, minlength=classes)
        scenes = np.bincount(np.unique(np.stack([groups, labels]), axis=1)[1], minlength=classes)
        if counts.min() < self.folds:
            rare = self.data.classes[int(counts.argmin())]
            raise InputError(
                f"expected {self.folds} images of each class in train and val for as many folds, found {counts.min()} of {rare}. "
                f"Give more images, or fewer --folds"
            )
        if scenes.min() < self.folds:
            rare = self.data.classes[int(scenes.argmin())]
            raise InputError(
                f"expected {self.folds} images that do not look alike of each class in train and val for as many folds, found "
                f"{scenes.min()} such groups among the {counts[int(scenes.argmin())]} images of {rare}. Give more images, or fewer --folds"
            )
        return counts
