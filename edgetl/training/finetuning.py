"""Fine-tuning: a new head on frozen features first, then as much of the network as validation says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.workspace import SCRATCH
from edgetl.data.pixels import to_input
from edgetl.models.build import build, runs_at
from edgetl.models.heads import head_layer, head_name, parameter_blocks, set_linear
from edgetl.training.balance import Balancing, worth_of
from edgetl.training.device import on_device
from edgetl.training.features import Features
from edgetl.training.fit import Fit, evaluate, fit, resumes
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.job import Recipe, TrainingJob
from edgetl.training.linear import LinearHead, fit_linear
from edgetl.training.material import Material
from edgetl.training.score import balanced_score_with, score_with
from edgetl.training.scratch import PASSES, SMALL_SIDE, Scratch, from_scratch, work_within
from edgetl.training.strategy import HeadScore, StrategyDecision, decide, groups

SOFT_LR = 1e-2
VIEW_KEY = 2**31  # apart from the numbers of epochs: the head's random views are none that training sees


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The primary metric on val and, where classes are unbalanced, its mean over the classes."""

    score: float
    balanced: float | None


@dataclass(frozen=True, kw_only=True)
class Finetuning(Material):
    """The training: the head first, then the layers that the strategy names."""

    def headed(self) -> tuple[StrategyDecision, Scores | None]:
        """Fit the head: how to go on, and a linear head's scores on val. Without pretrained weights there is nothing to fit it on.

        Where more than the head will learn, it starts from a softer head: one at its optimum has weights so large that the first
        batches, whose statistics are not those the features were computed with, get answers far off, and mending them destroys
        what was pretrained.
        """
        s = self.settings
        if self.weights is None:
            return decide(s.strategy, None), None
        probe, views, unseen = self._fit_head()
        decision = decide(s.strategy, self._seen(probe, unseen))
        if decision.strategy != "features" and s.head == "linear" and not resumes(self.out):
            layer = head_layer(self.model)
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            self._train_head(views, unseen, lr=SOFT_LR, batch_size=256)
        outputs, balanced = torch.from_numpy(probe(unseen)), balanced_score_with(self.task, self.balance)
        return decision, Scores(
            score=score_with(self.task)(outputs, self.val.labels), balanced=balanced(outputs, self.val.labels) if balanced else None
        )

    def _fit_head(self) -> tuple[LinearHead, list[Features], Features]:
        """Fit the head: the linear one (which is the head, unless that is an mlp), the features it was fitted on, and val's."""
        s = self.settings

        def of_view(view: int) -> Features:
            return self._features(str(view), f"train, random view {view}", lambda rows: self._random_view(rows, view), len(self.train))

        views = [self.center_features, *(of_view(view) for view in range(1, s.head_views if s.augment != "none" else 1))]
        unseen = self.val_features
        weights = None if self.per_class is None else self.per_class.numpy()
        labels, threads, groups = self.train.labels.numpy(), self.runtime.threads, self.data.only("train").groups
        linear = fit_linear(views, labels, self.task.outputs, weights=weights, seed=s.seed, threads=threads, groups=groups)
        if s.head == "mlp":
            self._train_head(views, unseen, lr=s.head_lr, batch_size=min(256, s.batch_size))
        else:
            layer = head_layer(self.model)
            assert isinstance(layer, nn.Linear)
            set_linear(layer, torch.from_numpy(linear.weight), torch.from_numpy(linear.bias))
        return linear, views, unseen

    def _random_view(self, rows: slice, view: int) -> Tensor:
        """The random view number `view` of these training images."""
        draws = self.augment.draws(self.settings.seed, VIEW_KEY + view, len(self.train))[rows]
        return to_input(self.augment(self.train.pixels[rows], draws), self.preprocess)

    def _seen(self, probe: LinearHead, unseen: Features) -> HeadScore:
        """The linear head out of fold on train, and on val; where classes are unbalanced, each class weighs the same.

        Images of val that look alike count once for how exactly val can tell.
        """
        labels = np.concatenate([self.train.labels.numpy()[probe.chosen], self.val.labels.numpy()])
        right = self.task.correct(np.concatenate([probe.unseen, probe(unseen)]), labels)
        weights = None if self.per_class is None else self.per_class.numpy()[labels]
        worth = worth_of(self.val.labels.numpy(), self.data.only("val").groups, balanced=weights is None)
        return HeadScore(
            score=float(np.average(right, weights=weights)),
            images=len(labels),
            val=len(self.val),
            worth=None if worth == len(self.val) else worth,
        )

    def _train_head(self, views: list[Features], unseen: Features, *, lr: float, batch_size: int) -> None:
        s = self.settings
        fit_head(
            self.model.get_submodule(head_name(self.model)).cpu(),
            views,
            self.train.labels,
            unseen=unseen,
            val_loss=lambda outputs: nn.functional.cross_entropy(outputs, self.val.labels, weight=self.per_class).item(),
            loss=lambda outputs, labels: self.task.loss(outputs, labels, s.label_smoothing, self.per_class),
            recipe=HeadRecipe(epochs=s.head_epochs, lr=lr, weight_decay=s.weight_decay, batch_size=batch_size, seed=s.seed),
        )

    def trained(self, decision: StrategyDecision) -> Fit:
        """Train the layers of the strategy; for `features` only compute the score."""
        job = self._job(decision)
        if decision.strategy == "features":
            on_device(self.model, self.device)
            seen = evaluate(job, self.device)
            return Fit(best_epoch=-1, best_score=seen.score, epochs=0, best_balanced=seen.balanced)
        return fit(job, self.out, self.device)

    def _job(self, decision: StrategyDecision) -> TrainingJob:
        s = self.settings.resolved()
        assert s.layer_decay is not None
        return TrainingJob(
            title="finetune",
            model=self.model,
            groups=groups(parameter_blocks(self.model), decision.strategy, s.layer_decay),
            train=self.train,
            val=self.val,
            augment=self.augment,
            preprocess=self.preprocess,
            loss=lambda net, batch: self.loss(net(batch.x), batch.labels),
            score=score_with(self.task),
            recipe=Recipe.of(s, len(self.train)),
            start_counts=self.weights is not None,
            keep_last=s.adapts,
            shares=self.balance.shares,
            class_weights=self.per_class,
            balanced=balanced_score_with(self.task, self.balance),
            val_groups=self.data.only("val").groups,
        )

    def from_scratch(self, result: Fit) -> Scratch:
        """The same network without the weights, for a share of the work that `result` took.

        Raises:
            DivergedError: its training came to nothing.
        """
        s, size = self.settings, self.preprocess.side
        small = SMALL_SIDE if size > SMALL_SIDE and runs_at(s.arch, SMALL_SIDE) else size
        count = len(self.train)
        passes = count * s.head_views + len(self.val) + PASSES * count * result.epochs
        torch.manual_seed(s.seed)
        epochs, used = work_within(passes, count, size, small)
        train = self.train.spread(used)
        recipe = Recipe.of(s.but(epochs=epochs, batch_size=max(2, min(s.batch_size, used // 8)), lr=2e-3), used)
        return from_scratch(
            build(self.arch, self.task.outputs, small),
            train=train,
            val=self.val,
            augment=self.augment,
            preprocess=self.preprocess,
            size=small,
            loss=self.loss,
            score=score_with(self.task),
            recipe=recipe,
            shares=Balancing(kind=self.balance.kind, labels=train.labels.numpy(), classes=self.task.outputs).shares,
            class_weights=self.per_class,
            balanced=balanced_score_with(self.task, self.balance),
            val_groups=self.data.only("val").groups,
            folder=self.out / SCRATCH / "from-scratch",
            device=self.device,
        )
