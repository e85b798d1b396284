"""finetune: images and a pretrained network give the teacher."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.artifacts import Checkpoint, FileArtifact
from edgetl.core.errors import InputError
from edgetl.core.files import write_json
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.stage import Stage
from edgetl.core.workspace import SCRATCH
from edgetl.data.augment import Augment
from edgetl.data.decode import augment_for, pixel_set
from edgetl.data.images import Images
from edgetl.data.pixels import PixelSet, centered, to_input
from edgetl.models.build import MLP, build, runs_at
from edgetl.models.checkpoint import save_checkpoint
from edgetl.models.heads import feature_body, head_name, parameter_blocks, set_linear_head, with_mlp
from edgetl.models.weights import Weights, load_into
from edgetl.report.schema import Baseline, Baselines
from edgetl.settings import FinetuneSettings, Runtime
from edgetl.tasks.classification import Classification
from edgetl.training.balance import balance_for, class_weights, image_shares
from edgetl.training.device import pinned, placed
from edgetl.training.features import Features, frozen_features
from edgetl.training.fit import Fit, Job, Recipe, evaluate, fit, standard_error
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.linear import Linear, fit_linear
from edgetl.training.score import score_with
from edgetl.training.scratch import PASSES, SMALL, Scratch, epochs_within, from_scratch
from edgetl.training.strategy import Decision, Seen, decide, groups

LIFT_IMAGES = 32  # whose outputs say how far SqueezeNet's biases are lifted
VIEW_KEY = 2**31  # apart from the numbers of epochs: the head's random views are none that training sees


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The fine-tuned network and its score on val, a fraction in [0, 1].

    Attributes:
        best_epoch: of the training of more than the head; -1: the head alone was better.
        strategy: what learned, and why.
        baselines: `baselines.json`; None where there is nothing to compare, or it was not asked for.
    """

    checkpoint: Checkpoint
    val_score: float
    best_epoch: int
    strategy: str = "full"
    reason: str = ""
    baselines: FileArtifact | None = None


@dataclass(frozen=True, kw_only=True)
class Finetune(Stage[Teacher]):
    """Fit a new head to a pretrained network's frozen features, then train as much of the network as helps.

    Raises:
        InputError: random weights, which a head alone cannot make good.
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 2
    data: Images  # the parts train and val
    preprocess: Preprocess  # how images are prepared for the network
    settings: FinetuneSettings  # with an architecture by name, not "auto"
    weights: Weights | None = None
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def __post_init__(self) -> None:
        """Refuse what cannot come to anything."""
        if self.weights is None and self.settings.strategy == "features":
            raise InputError(
                f"expected pretrained weights for the strategy features, found none for {self.settings.arch}: random features say little. "
                "Give --teacher-weights FILE (finetune: --weights), or take the strategy full"
            )

    def run(self, out: Path) -> Teacher:
        """Write `checkpoint.safetensors`; with pretrained weights `baselines.json`; where more than the head learns, `log.csv`."""
        with pinned(self.runtime) as device:
            torch.manual_seed(self.settings.seed)
            work = _Work(stage=self, out=out, device=device)
            decision, probed = work.headed()
            result = work.trained(decision)
            say(f"finetune: {decision.strategy}, since {decision.reason}")
            baselines = work.baselines(decision, result, probed) if probed is not None and self.settings.baselines else None
        path = out / "checkpoint.safetensors"
        save_checkpoint(
            path,
            model=work.model,
            arch=work.arch,
            classes=self.data.classes,
            preprocess=self.preprocess,
            seen=self.data.seen(),
            provenance={**self._provenance(), "strategy": decision.strategy},
        )
        return Teacher(
            checkpoint=Checkpoint.of(path),
            val_score=result.best_score,
            best_epoch=result.best_epoch,
            strategy=decision.strategy,
            reason=decision.reason,
            baselines=baselines,
        )

    def _provenance(self) -> dict[str, str]:
        weights = self.weights
        return {
            "stage": self.name,
            "data": self.data.name,
            "weights": f"{weights.source} sha256:{weights.sha256}" if weights else "none (random)",
        }


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One run of `Finetune`: images are decoded and features computed once, when first asked for."""

    stage: Finetune
    out: Path
    device: torch.device

    @cached_property
    def model(self) -> nn.Module:
        """The network, with the pretrained weights and a new head."""
        stage, s = self.stage, self.stage.settings
        model = build(s.arch, len(stage.data.classes), stage.preprocess.size)
        if stage.weights:
            say(f"finetune: {load_into(model, stage.weights, stage.data.classes).line()}")
        return with_mlp(model) if s.head == "mlp" else model

    @cached_property
    def arch(self) -> str:
        return self.stage.settings.arch + (MLP if self.stage.settings.head == "mlp" else "")

    @cached_property
    def task(self) -> Classification:
        return Classification(classes=self.stage.data.classes)

    @cached_property
    def train(self) -> PixelSet:
        return pixel_set(self.stage.data.only("train"), self.stage.preprocess, margin=self.stage.settings.augment != "none")

    @cached_property
    def val(self) -> PixelSet:
        return pixel_set(self.stage.data.only("val"), self.stage.preprocess, margin=False)

    @cached_property
    def augment(self) -> Augment:
        s = self.stage.settings
        return augment_for(self.stage.data.only("train"), self.stage.preprocess, s.augment, s.flip)

    @cached_property
    def balance(self) -> str:
        return balance_for(self.stage.settings.balance, self.train.labels.numpy(), self.task.outputs)

    @cached_property
    def weights(self) -> Tensor | None:
        """Of the classes, [k], where they are unbalanced."""
        return None if self.balance == "none" else torch.from_numpy(class_weights(self.train.labels.numpy(), self.task.outputs))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The task's; where rare images come more often already, they weigh no more."""
        weights = self.weights.to(outputs.device) if self.weights is not None and self.balance == "loss" else None
        return self.task.loss(outputs, labels, self.stage.settings.label_smoothing, weights)

    def headed(self) -> tuple[Decision, float | None]:
        """Fit the head: how to go on, and a linear head's score on val. Without pretrained weights there is nothing to fit it on."""
        s = self.stage.settings
        if self.stage.weights is None:
            return decide(s.strategy, None), None
        body = feature_body(self.model)
        views = [self._features(body, view) for view in range(s.head_views if s.augment != "none" else 1)]
        unseen = self._val_features(body)
        weights = None if self.weights is None else self.weights.numpy()
        labels, threads = self.train.labels.numpy(), self.stage.runtime.threads
        probe = fit_linear(views, labels, self.task.outputs, weights=weights, seed=s.seed, threads=threads)
        if s.head == "mlp":
            self._fit_mlp(views, unseen)
        else:
            some = to_input(centered(self.train.pixels[:LIFT_IMAGES], self.stage.preprocess.size), self.stage.preprocess)
            set_linear_head(self.model, torch.from_numpy(probe.weight), torch.from_numpy(probe.bias), some.to(self.device))
        return decide(s.strategy, self._seen(probe, unseen)), self.task.score(probe(unseen), self.val.labels.numpy())

    def _features(self, body: nn.Module, view: int) -> Features:
        """Of the training images: the center view (0), or random ones."""
        train, preprocess = self.train, self.stage.preprocess
        draws = self.augment.draws(self.stage.settings.seed, VIEW_KEY + view, len(train)) if view else None

        def inputs(rows: slice) -> Tensor:
            pixels = train.pixels[rows]
            shown = centered(pixels, preprocess.size) if draws is None else self.augment(pixels, draws[rows])
            return to_input(shown, preprocess)

        return frozen_features(body, inputs, len(train), self.device, self._scratch() / f"features-{view}")

    def _val_features(self, body: nn.Module) -> Features:
        def inputs(rows: slice) -> Tensor:
            return to_input(self.val.pixels[rows], self.stage.preprocess)

        return frozen_features(body, inputs, len(self.val), self.device, self._scratch() / "features-val")

    def _scratch(self) -> Path:
        (self.out / SCRATCH).mkdir(exist_ok=True)
        return self.out / SCRATCH

    def _seen(self, probe: Linear, unseen: Features) -> Seen:
        """The linear head out of fold on train, and on val; where classes are unbalanced, each class weighs the same."""
        labels = np.concatenate([self.train.labels.numpy()[probe.chosen], self.val.labels.numpy()])
        right = self.task.correct(np.concatenate([probe.unseen, probe(unseen)]), labels)
        weights = None if self.weights is None else self.weights.numpy()[labels]
        return Seen(score=float(np.average(right, weights=weights)), images=len(labels), val=len(self.val))

    def _fit_mlp(self, views: list[Features], unseen: Features) -> None:
        s = self.stage.settings
        fit_head(
            self.model.get_submodule(head_name(self.model)).cpu(),
            views,
            self.train.labels,
            unseen=unseen,
            val_loss=lambda outputs: nn.functional.cross_entropy(outputs, self.val.labels, weight=self.weights).item(),
            loss=lambda outputs, labels: self.task.loss(outputs, labels, s.label_smoothing, self.weights),
            recipe=HeadRecipe(
                epochs=s.head_epochs, lr=s.head_lr, weight_decay=s.weight_decay, batch_size=min(256, s.batch_size), seed=s.seed
            ),
        )

    def trained(self, decision: Decision) -> Fit:
        """Train what the strategy says; of `features` only the score is left to find."""
        job = self._job(decision)
        if decision.strategy == "features":
            placed(self.model, self.device)
            return Fit(best_epoch=-1, best_score=evaluate(job, self.device)[1], epochs=0)
        return fit(job, self.out, self.device)

    def _job(self, decision: Decision) -> Job:
        s = self.stage.settings
        labels = self.train.labels.numpy()
        return Job(
            title="finetune",
            model=self.model,
            groups=groups(parameter_blocks(self.model), decision.strategy, s.layer_decay),
            train=self.train,
            val=self.val,
            augment=self.augment,
            preprocess=self.stage.preprocess,
            loss=lambda net, x, y: self.loss(net(x), y),
            score=score_with(self.task),
            recipe=Recipe.of(s, len(self.train)),
            start_counts=self.stage.weights is not None,
            shares=image_shares(labels, self.task.outputs) if self.balance == "sampling" else None,
            class_weights=self.weights,
        )

    def baselines(self, decision: Decision, result: Fit, probed: float) -> FileArtifact:
        """Write `baselines.json`; say so where pretraining did harm."""
        count = len(self.val)
        scratch = self._from_scratch(result)
        error = standard_error(result.best_score, count)
        found = Baselines(
            part="val",
            images=count,
            linear_probe=baseline(probed, count),
            from_scratch=baseline(scratch.score, count, views=scratch.views, image_size=scratch.image_size),
            teacher=baseline(result.best_score, count),
            negative_transfer=scratch.score > result.best_score + error,
            strategy=f"{decision.strategy}: {decision.reason}",
        )
        if found.negative_transfer:
            say(f"finetune: negative transfer: from scratch {scratch.score:.1%} on val, the teacher {result.best_score:.1%} +- {error:.1%}")
        path = self.out / "baselines.json"
        write_json(path, asdict(found))
        return FileArtifact.of(path)

    def _from_scratch(self, result: Fit) -> Scratch:
        s, size = self.stage.settings, self.stage.preprocess.size
        small = SMALL if size > SMALL and runs_at(s.arch, SMALL) else size
        count = len(self.train)
        passes = count * s.head_views + len(self.val) + PASSES * count * result.epochs
        torch.manual_seed(s.seed)
        recipe = Recipe.of(
            s.but(epochs=epochs_within(passes, count, size, small), batch_size=max(2, min(s.batch_size, count // 8)), lr=2e-3), count
        )
        return from_scratch(
            build(self.arch, self.task.outputs, small),
            train=self.train,
            val=self.val,
            augment=self.augment,
            preprocess=self.stage.preprocess,
            size=small,
            loss=self.loss,
            score=score_with(self.task),
            recipe=recipe,
            folder=self.out / SCRATCH / "from-scratch",
            device=self.device,
        )


def baseline(score: float, images: int, *, views: int | None = None, image_size: int | None = None) -> Baseline:
    """A score on so many images, with its standard error."""
    return Baseline(score=score, standard_error=standard_error(score, images), views=views, image_size=image_size)
