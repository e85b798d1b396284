"""The outputs of a checkpoint under torch, with which its ONNX graphs are compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.models.checkpoint import load_model
from edgetl.runtime.session import InputBatch


def torch_outputs(checkpoint: Path, batches: Iterable[InputBatch]) -> NDArray[np.float32]:
    """Batches of inputs float32 [n, 3, s, s] through the checkpoint's network: logits float32 [sum of n, k].

    Raises:
        InputError: no checkpoint, or no batch.
    """
    model = load_model(checkpoint)
    with torch.no_grad():
        outputs = [model(torch.from_numpy(batch.x)).float().numpy() for batch in batches]
    if not outputs:
        raise InputError(f"expected images to run {checkpoint.name} on, found none")
    return np.concatenate(outputs)
