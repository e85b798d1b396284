"""Batch statistics of new images: what a pretrained network knows about the old ones would mislead a head (Li et al. 2016, AdaBN)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgetl.core.progress import track
from edgetl.training.device import placed


@torch.no_grad()
def adapt_norms(model: nn.Module, inputs: Callable[[slice], Tensor], count: int, device: torch.device, batch: int) -> bool:
    """Give the batch norms of `model`, in place, the statistics of `count` images; whether there are any.

    Training normalizes by the statistics of its batches. A head that was fitted on features normalized by others starts with answers
    that are far off, and what the first steps do to mend them destroys pretrained weights.
    """
    norms = [module for module in placed(model, device).eval().modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with track("norms", count, "image") as bar:
        for start in range(0, count if norms else 0, batch):
            rows = slice(start, min(start + batch, count))
            if rows.stop - rows.start > 1:
                model(inputs(rows).to(device))
            bar.advance(rows.stop - rows.start)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.eval()
    return bool(norms)
