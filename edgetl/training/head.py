"""A new head on frozen features: the features are computed once, not once an epoch (linear probing)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.data.pixels import PixelSet
from edgetl.training.device import placed
from edgetl.training.fit import outputs_of
from edgetl.training.schedule import cosine


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """How the head is trained; the peak learning rate is AdamW's."""

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


def fit_head(
    body: nn.Module,
    head: nn.Module,
    *,
    train: PixelSet,
    val: PixelSet,
    preprocess: Preprocess,
    loss: Callable[[Tensor, Tensor], Tensor],
    score: Callable[[Tensor, Tensor], float],
    recipe: HeadRecipe,
    device: torch.device,
) -> float:
    """Train `head` in place on what `body` makes of the images (center views); its best val score.

    `loss` takes (outputs [n, k], labels [n]); the weights of the best epoch on val are kept.
    """
    placed(body, device).eval()
    with track("features", 2, "part") as bar:
        known = outputs_of(body, train, preprocess, device)
        bar.advance()
        unseen = outputs_of(body, val, preprocess, device)
        bar.advance()
    head.to(device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    best, best_state = -math.inf, copy.deepcopy(head.state_dict())
    with track("head", recipe.epochs, "epoch") as bar:
        for epoch in range(recipe.epochs):
            _epoch(head, known, train.labels, loss, optimizer, recipe, epoch, device)
            with torch.no_grad():
                now = score(head.eval()(unseen.to(device)).float().cpu(), val.labels)
            if now > best:
                best, best_state = now, copy.deepcopy(head.state_dict())
            bar.advance(note=f"val {now:.4f}")
    head.load_state_dict(best_state)
    return best


def _epoch(
    head: nn.Module,
    features: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    recipe: HeadRecipe,
    epoch: int,
    device: torch.device,
) -> None:
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout
    order = np.random.Generator(np.random.Philox(key=[recipe.seed, epoch])).permutation(len(labels))
    batches = np.array_split(order, math.ceil(len(order) / recipe.batch_size))
    head.train()
    for step, chosen in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * cosine((epoch + (step + 1) / len(batches)) / recipe.epochs, 0.05)
        index = torch.from_numpy(chosen)
        value = loss(head(features[index].to(device)), labels[index].to(device))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
