"""The one training loop: teachers, students and the embedded backbone all go through it.

Killed at any instant and started again, it gives the same weights: after each epoch everything that the next one
depends on is in `scratch/resume.pt`, and what is random is keyed by (seed, epoch, sample).
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.core.workspace import SCRATCH
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet, to_input
from edgetl.settings import DistillSettings, FinetuneSettings
from edgetl.training.device import pick_dtype, placed
from edgetl.training.schedule import cosine

RESUME, LOG = "resume.pt", "log.csv"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that share a learning rate, given as a factor on the recipe's; frozen until `begins`, a share of the epochs."""

    parameters: Sequence[nn.Parameter]
    scale: float = 1.0
    begins: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long, how fast, in which order."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: float
    seed: int
    patience: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"

    @staticmethod
    def of(s: FinetuneSettings | DistillSettings, images: int) -> Recipe:
        """The recipe that a stage's settings ask for, with `images` training images."""
        return Recipe(
            epochs=s.epochs_for(images),
            batch_size=s.batch_for(images) if isinstance(s, DistillSettings) else s.batch_size,
            lr=s.peak_lr if isinstance(s, DistillSettings) else s.lr,
            weight_decay=s.weight_decay,
            warmup=s.warmup,
            seed=s.seed,
            patience=s.patience,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained, on what, towards what.

    Attributes:
        loss: (model, input [n, 3, s, s], labels [n]) -> scalar.
        score: (outputs [n, k], labels [n]) -> the primary metric, higher is better.
        preprocess: normalizes the views, float [n, 3, size, size] in 0..255.
        start_counts: the weights before the first epoch may turn out to be the best.
        shares: how often each training image is drawn, relative to the others, [n]; None: each once an epoch.
        class_weights: in the loss on val, [k]; None: all images alike.
    """

    title: str
    model: nn.Module
    groups: Sequence[Group]
    train: PixelSet
    val: PixelSet
    augment: Augment
    preprocess: Preprocess
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    recipe: Recipe
    start_counts: bool = False
    shares: Tensor | None = None
    class_weights: Tensor | None = None


@dataclass
class _Progress:
    """What the next epoch depends on, beside model and optimizer."""

    epoch: int = 0
    stale: int = 0
    best_epoch: int = -1
    best_score: float = -math.inf  # of the weights that are kept
    best_loss: float = math.inf
    top: float = -math.inf  # the highest score of any epoch
    best_state: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What came out; the model holds the weights of the best epoch."""

    best_epoch: int
    best_score: float
    epochs: int


def resumes(out: Path) -> bool:
    """Whether `fit` will continue an earlier attempt in `out`, and so replace all weights."""
    return (out / SCRATCH / RESUME).exists()


def fit(job: Job, out: Path, device: torch.device) -> Fit:
    """Train `job.model` in place; log to `out/log.csv`; continue from `out/scratch/resume.pt` if it is there."""
    model, recipe = placed(job.model, device), job.recipe
    optimizer = _optimizer(job)
    state = _load(out / SCRATCH / RESUME, model, optimizer)
    if state.epoch == 0 and job.start_counts:
        val_loss, score = evaluate(job, device)
        _keep(state, model, score, val_loss, epoch=-1)
    with track(job.title, recipe.epochs, "epoch") as bar:
        bar.advance(state.epoch)
        while state.epoch < recipe.epochs and (recipe.patience is None or state.stale < recipe.patience):
            started = time.perf_counter()
            loss = _train_epoch(job, optimizer, state.epoch, device)
            val_loss, score = evaluate(job, device)
            _note(
                state,
                model,
                {"loss": loss, "val_loss": val_loss, "val_score": score, "seconds": time.perf_counter() - started},
                len(job.val),
            )
            _save(out, model, optimizer, state)
            bar.advance(note=f"val {score:.4f}")
    if state.best_state:
        model.load_state_dict(state.best_state)
    for parameter in (parameter for group in job.groups if group.begins for parameter in group.parameters):
        parameter.requires_grad_(True)
    model.eval()
    return Fit(best_epoch=state.best_epoch, best_score=state.best_score, epochs=state.epoch)


def _optimizer(job: Job) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only, as is usual: not on biases and norms."""
    groups: list[dict[str, Any]] = []
    for group in job.groups:
        for decays in (True, False):
            chosen = [p for p in group.parameters if p.requires_grad and (p.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "scale": group.scale, "weight_decay": job.recipe.weight_decay if decays else 0.0})
    match job.recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=job.recipe.lr)
        case "sgd":
            return torch.optim.SGD(groups, lr=job.recipe.lr, momentum=0.9, nesterov=True)


def _train_epoch(job: Job, optimizer: torch.optim.Optimizer, epoch: int, device: torch.device) -> float:
    """One pass over the training images in a new order; the mean loss."""
    recipe, count = job.recipe, len(job.train)
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout
    order, draws = _order(job, epoch)
    parts = math.ceil(count / recipe.batch_size)
    batches = list(zip(np.array_split(order, parts), np.array_split(draws, parts), strict=True))
    _thaw(job, epoch)
    total = 0.0
    for step, (chosen, drawn) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * group["scale"] * cosine((epoch + (step + 1) / len(batches)) / recipe.epochs, recipe.warmup)
        index = torch.from_numpy(chosen)
        views = job.augment(job.train.pixels[index].to(device), drawn)
        labels = job.train.labels[index].to(device)
        with torch.autocast(device.type, dtype=pick_dtype(device), enabled=pick_dtype(device) != torch.float32):
            loss = job.loss(job.model, to_input(views, job.preprocess), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(chosen)
    return total / count


def _order(job: Job, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The training images of an epoch in their order, and the draws for the view of each."""
    seed, count = job.recipe.seed, len(job.train)
    draws, random = job.augment.draws(seed, epoch, count), np.random.Generator(np.random.Philox(key=[seed, epoch + 2**32]))
    if job.shares is None:
        order = random.permutation(count)
        return order, draws[order]
    shares = job.shares.numpy().astype(np.float64)
    return random.choice(count, size=count, p=shares / shares.sum()), draws  # an image that comes twice gives two views


def _thaw(job: Job, epoch: int) -> None:
    """Training mode, and the groups whose time has come may learn; the norms of those that wait keep their statistics."""
    job.model.train()
    for group in (group for group in job.groups if group.begins):
        for parameter in group.parameters:
            parameter.requires_grad_(epoch >= group.begins * job.recipe.epochs)
    for module in job.model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


@torch.no_grad()
def outputs_of(model: nn.Module, data: PixelSet, preprocess: Preprocess, device: torch.device, batch_size: int = 256) -> Tensor:
    """The model's outputs for all images, float32 [n, k], on the CPU."""
    model.eval()
    chunks = (data.pixels[start : start + batch_size].to(device) for start in range(0, len(data), batch_size))
    return torch.cat([model(to_input(chunk, preprocess)).float().cpu() for chunk in chunks])


def evaluate(job: Job, device: torch.device) -> tuple[float, float]:
    """Cross-entropy and score on the val images."""
    outputs = outputs_of(job.model, job.val, job.preprocess, device)
    return nn.functional.cross_entropy(outputs, job.val.labels, weight=job.class_weights).item(), job.score(outputs, job.val.labels)


def _note(state: _Progress, model: nn.Module, row: dict[str, float], images: int) -> None:
    """Count the epoch; keep its weights if they are better than those that are kept."""
    state.rows.append({"epoch": state.epoch, **row})
    score, loss = row["val_score"], row["val_loss"]
    state.top = max(state.top, score)
    enough = state.top - standard_error(state.top, images)
    if score >= enough and (state.best_score < enough or loss < state.best_loss):
        _keep(state, model, score, loss, state.epoch)
    else:
        state.stale += 1
    state.epoch += 1


def standard_error(score: float, images: int) -> float:
    """Of a share among `images` images; not zero at 0 and 1 (Agresti & Coull 1998, two successes and failures added).

    Among epochs whose val score is within one of the highest, chance decides the order: the one with the lowest val loss
    is the best (the one-standard-error rule; Breiman et al. 1984, section 3.4.3).
    """
    share = (min(max(score, 0.0), 1.0) * images + 2) / (images + 4)
    return math.sqrt(share * (1 - share) / (images + 4))


def _keep(state: _Progress, model: nn.Module, score: float, loss: float, epoch: int) -> None:
    state.best_score, state.best_loss, state.best_epoch, state.stale = score, loss, epoch, 0
    state.top = max(state.top, score)
    state.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}


def _save(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: _Progress) -> None:
    """Write everything the next epoch depends on, whole or not at all."""
    resume = out / SCRATCH / RESUME
    resume.parent.mkdir(exist_ok=True)
    temporary = resume.with_suffix(".new")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(state)}, temporary)
    os.replace(temporary, resume)
    with (out / LOG).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(state.rows[0]))
        writer.writeheader()
        writer.writerows(state.rows)


def _load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> _Progress:
    """Where an earlier attempt stopped, or the beginning."""
    if not path.exists():
        return _Progress()
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return _Progress(**saved["progress"])
