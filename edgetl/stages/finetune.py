"""finetune: images and a pretrained network give the teacher."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from edgetl.core.artifacts import Checkpoint, FileArtifact
from edgetl.core.errors import DivergedError, InputError
from edgetl.core.files import write_json
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import detail, say
from edgetl.core.stage import Stage
from edgetl.data.images import Images
from edgetl.data.pixel_cache import keeping
from edgetl.models.checkpoint import save_checkpoint
from edgetl.models.weights import Weights
from edgetl.report.baselines import BaselineReport, Baselines
from edgetl.settings import FinetuneSettings, Runtime
from edgetl.training.balance import worth_of
from edgetl.training.device import pinned
from edgetl.training.finetuning import Finetuning, Scores
from edgetl.training.fit import Fit, standard_error
from edgetl.training.mirror import FLIP
from edgetl.training.scratch import Scratch
from edgetl.training.strategy import StrategyDecision

FEATURES = "features.npy"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The fine-tuned network and its score on val, a fraction in [0, 1].

    Attributes:
        best_epoch: of the training of more than the head; -1: the head alone was better.
        strategy: what learned, and why.
        baselines: `baselines.json`; None where there is nothing to compare, or it was not asked for.
        features: `features.npy`, what the pretrained network makes of train and val, float32 [n, d]; None without pretrained weights.
    """

    checkpoint: Checkpoint
    val_score: float
    best_epoch: int
    strategy: str = "full"
    reason: str = ""
    baselines: FileArtifact | None = None
    features: FileArtifact | None = None


@dataclass(frozen=True, kw_only=True)
class Finetune(Stage[Teacher]):
    """Fit a new head to a pretrained network's frozen features, then train as much of the network as helps.

    Raises:
        InputError: random weights, which a head alone cannot make good; weights that are not finite.
        DivergedError: loss or weights are not finite any more.
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 10
    data: Images  # the parts train and val
    preprocess: Preprocess  # how images are prepared for the network
    settings: FinetuneSettings  # with an architecture by name, not "auto"
    weights: Weights | None = None
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def __post_init__(self) -> None:
        """Refuse what cannot come to anything."""
        if self.weights is None and self.settings.strategy == "features":
            raise InputError(
                f"expected pretrained weights for the strategy features, found none for {self.settings.arch}: random features are useless. "
                "Give --teacher-weights FILE (finetune: --weights), or choose the strategy full"
            )

    def run(self, out: Path) -> Teacher:
        """Write `checkpoint.safetensors`; with pretrained weights `baselines.json`, `features.npy`; `log.csv` where layers learn."""
        with pinned(self.runtime) as device, keeping(self.runtime):
            torch.manual_seed(self.settings.seed)
            work = Finetuning(
                data=self.data,
                preprocess=self.preprocess,
                settings=self.settings,
                weights=self.weights,
                runtime=self.runtime,
                out=out,
                device=device,
            )
            decision, probed = work.headed()
            if self.weights is not None:
                work.write_features(out / FEATURES)
            say(f"finetune: {work.mirroring.line()}")
            say(f"finetune: {decision.line()} (strategy {decision.strategy})")
            detail(f"finetune: {decision.reason}")
            result = work.trained(decision)
            baselines = self._baselines(work, decision, result, probed) if probed is not None and self.settings.baselines else None
        path = out / "checkpoint.safetensors"
        save_checkpoint(
            path,
            model=work.model,
            arch=work.arch,
            classes=self.data.classes,
            preprocess=self.preprocess,
            seen=self.data.seen().beside(self.weights.record if self.weights else None),
            provenance={**self._provenance(), "strategy": decision.strategy, FLIP: "yes" if work.mirroring.keeps else "no"},
        )
        return Teacher(
            checkpoint=Checkpoint.of(path),
            val_score=result.best_score,
            best_epoch=result.best_epoch,
            strategy=decision.strategy,
            reason=decision.reason,
            baselines=baselines,
            features=FileArtifact.of(out / FEATURES) if self.weights is not None else None,
        )

    def _baselines(self, work: Finetuning, decision: StrategyDecision, result: Fit, probed: Scores) -> FileArtifact:
        """Write `baselines.json`; say so where pretraining did harm. A network from scratch whose training diverges is left out."""
        labels, groups = work.val.labels.numpy(), self.data.only("val").groups
        worth = worth_of(labels, groups, balanced=True)
        try:
            scratch = work.from_scratch(result)
        except DivergedError as error:
            say(f"finetune: no comparison with the network from scratch, because its training diverged: {error}")
            scratch = None
        found = Baselines(
            part="val",
            images=len(labels),
            linear_probe=baseline(probed.score, worth, balanced=probed.balanced),
            from_scratch=None if scratch is None else beside(scratch, worth),
            teacher=baseline(result.best_score, worth, balanced=result.best_balanced),
            negative_transfer=scratch is not None and harmed(scratch.fit, result, labels, groups),
            strategy=f"{decision.strategy}: {decision.reason}",
            mirroring=work.mirroring.line(),
        )
        path = work.out / "baselines.json"
        write_json(path, asdict(found))
        return FileArtifact.of(path)

    def _provenance(self) -> dict[str, str]:
        weights = self.weights
        return {
            "stage": self.name,
            "data": self.data.name,
            "weights": f"{weights.source} sha256:{weights.sha256}" if weights else "none (random)",
        }


def harmed(scratch: Fit, teacher: Fit, labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> bool:
    """Whether the network from scratch is better than the teacher by more than the standard error, by what chose both; said if so.

    Images of val, of `labels` [n], that look alike have one number in `groups` [n], and count once.
    """
    if scratch.best_balanced is None or teacher.best_balanced is None:
        other, own, what, top1 = scratch.best_score, teacher.best_score, "", True
    else:
        other, own, what, top1 = scratch.best_balanced, teacher.best_balanced, " (mean recall of the classes)", False
    error = standard_error(own, worth_of(labels, groups, balanced=top1))
    if other > own + error:
        say(f"finetune: pretraining may have done harm: from scratch {other:.1%} on val, pretrained {own:.1%} ± {error:.1%}{what}")
    return other > own + error


def beside(scratch: Scratch, worth: float) -> BaselineReport:
    """The score of the network from scratch, with the number and size of its training views."""
    fit = scratch.fit
    return baseline(fit.best_score, worth, balanced=fit.best_balanced, views=scratch.views, image_size=scratch.image_size)


def baseline(
    score: float, worth: float, *, balanced: float | None, views: int | None = None, image_size: int | None = None
) -> BaselineReport:
    """A score on images worth so many independent ones, with its standard error."""
    error = standard_error(score, worth)
    return BaselineReport(score=score, standard_error=error, balanced=balanced, views=views, image_size=image_size)
