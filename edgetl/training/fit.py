"""The one training loop: teachers, students and the embedded backbone all go through it.

Killed at any instant and started again, it gives the same weights: after each epoch everything that the next one
depends on is in `scratch/resume.pt`, and what is random is keyed by (seed, epoch, sample).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.core.workspace import SCRATCH
from edgetl.data.pixels import PixelSet, to_input
from edgetl.training.balance import worth_of
from edgetl.training.device import on_device, pick_dtype
from edgetl.training.divergence import Course, refuse_diverged
from edgetl.training.job import FEWEST_IMAGES, TrainingBatch, TrainingJob
from edgetl.training.progress import RESUME, Evaluated, Progress, load_progress, resumable, save_progress
from edgetl.training.schedule import cosine


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of a training; the model holds the weights of the best epoch.

    Attributes:
        best_score: the primary metric of these weights on val.
        best_balanced: its mean over the classes, where they are unbalanced: what chose the epoch.
    """

    best_epoch: int
    best_score: float
    epochs: int
    best_balanced: float | None = None


def resumes(out: Path) -> bool:
    """Whether `fit` will continue in `out`, and so replace all weights."""
    return resumable(out / SCRATCH / RESUME)


def fit(job: TrainingJob, out: Path, device: torch.device) -> Fit:
    """Train `job.model` in place; log to `out/log.csv`; continue from `out/scratch/resume.pt` if it is there.

    Raises:
        DivergedError: loss or weights are not finite any more; what the last good epoch left stays in `out`.
        InputError: fewer than two training images.
    """
    model, recipe = on_device(job.model, device), job.recipe
    if len(job.train) < FEWEST_IMAGES:
        raise InputError(
            f"expected {FEWEST_IMAGES} training images at least, found {len(job.train)}. Give more images, or choose another split"
        )
    optimizer = _optimizer(job)
    state = load_progress(out / SCRATCH / RESUME, model, optimizer)
    if state.epoch == 0 and job.start_counts:
        state.keep(model, _finite(job, evaluate(job, device), out, -1), epoch=-1)
    with track(job.title, recipe.epochs, "epoch") as bar:
        bar.advance(state.epoch)
        while state.epoch < recipe.epochs and (recipe.patience is None or state.stale < recipe.patience):
            started = time.perf_counter()
            loss = _train_epoch(job, optimizer, state.epoch, device, out)
            seen = _finite(job, evaluate(job, device), out, state.epoch)
            _note(state, job, seen, loss, time.perf_counter() - started)
            save_progress(out, model, optimizer, state)
            bar.advance(note=f"val score {seen.score:.4f}")
    if state.best_state:
        model.load_state_dict(state.best_state)
    for parameter in (parameter for group in job.groups if group.begins for parameter in group.parameters):
        parameter.requires_grad_(True)
    model.eval()
    return Fit(best_epoch=state.best_epoch, best_score=state.best_score, epochs=state.epoch, best_balanced=state.best_balanced)


def _course(job: TrainingJob, out: Path, epoch: int) -> Course:
    """Where a training is, for its messages."""
    return Course(
        title=job.title, epoch=epoch, epochs=job.recipe.epochs, lr=job.recipe.lr, warmup=job.recipe.warmup, kept=out / SCRATCH / RESUME
    )


def _finite(job: TrainingJob, seen: Evaluated, out: Path, epoch: int) -> Evaluated:
    """What was seen after an epoch, if weights and loss on val are finite."""
    refuse_diverged(job.model, course := _course(job, out, epoch))
    if not math.isfinite(seen.loss):
        raise course.diverged(f"a finite loss on val, found {seen.loss}", "")
    return seen


def _optimizer(job: TrainingJob) -> torch.optim.Optimizer:
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


def _train_epoch(job: TrainingJob, optimizer: torch.optim.Optimizer, epoch: int, device: torch.device, out: Path) -> float:
    """One pass over the training images in a new order; the mean loss."""
    recipe, count = job.recipe, len(job.train)
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout
    order, draws = _order(job, epoch)
    parts = min(math.ceil(count / recipe.batch_size), count // FEWEST_IMAGES)
    batches = list(zip(np.array_split(order, parts), np.array_split(draws, parts), strict=True))
    _thaw(job, epoch)
    total, seen = 0.0, 0
    for step, (chosen, drawn) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * group["scale"] * cosine((epoch + (step + 1) / len(batches)) / recipe.epochs, recipe.warmup)
        index = torch.from_numpy(chosen)
        views = job.augment(job.train.pixels[index].to(device), drawn)
        labels = job.train.labels[index].to(device)
        with torch.autocast(device.type, dtype=pick_dtype(device), enabled=pick_dtype(device) != torch.float32):
            places = slice(seen, seen := seen + len(chosen))
            x = to_input(views, job.preprocess)
            loss = job.loss(job.model, TrainingBatch(x=x, labels=labels, round=_round(job, epoch), places=places, seed=recipe.seed))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if not math.isfinite(value := loss.item()):
            raise _course(job, out, epoch).diverged(f"a finite loss, found {value}", f"batch {step + 1} of {len(batches)}")
        total += value * len(chosen)
    return total / count


def _order(job: TrainingJob, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The training images of an epoch in their order, and the draws for the view of each."""
    seed, count, number = job.recipe.seed, len(job.train), _round(job, epoch)
    draws, random = job.augment.draws(seed, number, count), np.random.Generator(np.random.Philox(key=[seed, number + 2**32]))
    if job.shares is None:
        order = random.permutation(count)
        return order, draws[order]
    shares = job.shares.numpy().astype(np.float64)
    return random.choice(count, size=count, p=shares / shares.sum()), draws  # an image that comes twice gives two views


def _round(job: TrainingJob, epoch: int) -> int:
    """The number of the batches and views that an epoch shows."""
    return epoch if job.rounds is None else epoch % job.rounds


def _thaw(job: TrainingJob, epoch: int) -> None:
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
def network_outputs(model: nn.Module, data: PixelSet, preprocess: Preprocess, device: torch.device, batch_size: int = 256) -> Tensor:
    """The model's outputs for all images, float32 [n, k], on the CPU."""
    model.eval()
    chunks = (data.pixels[start : start + batch_size].to(device) for start in range(0, len(data), batch_size))
    return torch.cat([model(to_input(chunk, preprocess)).float().cpu() for chunk in chunks])


def evaluate(job: TrainingJob, device: torch.device) -> Evaluated:
    """Loss and scores on the val images."""
    outputs, labels = network_outputs(job.model, job.val, job.preprocess, device), job.val.labels
    loss = nn.functional.cross_entropy(outputs, labels, weight=job.class_weights).item()
    return Evaluated(loss=loss, score=job.score(outputs, labels), balanced=job.balanced(outputs, labels) if job.balanced else None)


def _note(state: Progress, job: TrainingJob, seen: Evaluated, loss: float, seconds: float) -> None:
    """Count the epoch; keep its weights if they are better than those that are kept."""
    row = {"epoch": state.epoch, "loss": loss, "val_loss": seen.loss, "val_score": seen.score, "seconds": seconds}
    state.rows.append(row if seen.balanced is None else {**row, "val_balanced": seen.balanced})
    state.top = max(state.top, seen.choosing)
    worth = worth_of(job.val.labels.numpy(), job.val_groups, balanced=seen.balanced is None)
    enough = state.top - standard_error(state.top, worth)
    last = job.keep_last and state.epoch == job.recipe.epochs - 1
    if seen.choosing >= enough and (last or state.best_choosing < enough or seen.loss < state.best_loss):
        state.keep(job.model, seen, state.epoch)
    else:
        state.stale += 1
    state.epoch += 1


def standard_error(score: float, images: float) -> float:
    """The standard error of a share of `images` independent images (`worth_of`).

    It is not zero at 0 and 1 (Agresti & Coull 1998, two successes and failures added).
    Among epochs whose val score is within one of the highest, chance decides the order: the one with the lowest val loss
    is the best (the one-standard-error rule; Breiman et al. 1984, section 3.4.3).
    """
    share = (min(max(score, 0.0), 1.0) * images + 2) / (images + 4)
    return math.sqrt(share * (1 - share) / (images + 4))
