"""A new head on frozen features: these are computed once, not once an epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.errors import DivergedError
from edgetl.core.progress import track
from edgetl.training.features import Features
from edgetl.training.schedule import cosine


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """How a head is trained; the peak learning rate is AdamW's."""

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


def fit_head(
    head: nn.Module,
    views: list[Features],
    labels: Tensor,
    *,
    unseen: Features,
    val_loss: Callable[[Tensor], float],
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: HeadRecipe,
) -> None:
    """Train `head` in place, on the CPU, one view of each image an epoch; the weights with the least loss on val are kept.

    Args:
        head: features [n, d] -> logits [n, k].
        views: of the training images, each [n, d].
        labels: [n].
        unseen: the features of the val images, [m, d].
        val_loss: logits [m, k] of the val images -> the loss to minimize.
        loss: (logits, labels) -> scalar.
        recipe: how.

    Raises:
        DivergedError: the loss is not finite any more.
    """
    optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    best, best_state = math.inf, copy.deepcopy(head.state_dict())
    with track("train head on frozen features", recipe.epochs, "epoch") as bar:
        for epoch in range(recipe.epochs):
            _epoch(head, views[epoch % len(views)], labels, loss, optimizer, recipe, epoch)
            with torch.no_grad():
                now = val_loss(head.eval()(torch.from_numpy(np.array(unseen))))
            if not math.isfinite(now):
                raise _diverged(f"a finite loss on val, found {now} after epoch {epoch + 1}", recipe)
            if now < best:
                best, best_state = now, copy.deepcopy(head.state_dict())
            bar.advance(note=f"val loss {now:.4f}")
    head.load_state_dict(best_state)
    head.eval()


def _epoch(
    head: nn.Module,
    features: Features,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    recipe: HeadRecipe,
    epoch: int,
) -> None:
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout
    order = np.random.Generator(np.random.Philox(key=[recipe.seed, epoch])).permutation(len(labels))
    batches = np.array_split(order, math.ceil(len(order) / recipe.batch_size))
    head.train()
    for step, chosen in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * cosine((epoch + (step + 1) / len(batches)) / recipe.epochs, 0.05)
        value = loss(head(torch.from_numpy(features[chosen])), labels[torch.from_numpy(chosen)])
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if not math.isfinite(value.item()):
            raise _diverged(f"a finite loss, found {value.item()} in epoch {epoch + 1}, batch {step + 1} of {len(batches)}", recipe)


def _diverged(what: str, recipe: HeadRecipe) -> DivergedError:
    return DivergedError(
        f"head: expected {what}, of {recipe.epochs} epochs. The training of the head diverged: lower its learning rate "
        f"(--head-lr, now {recipe.lr:g}), or check the weights of the network before it. No checkpoint was written"
    )
