"""NaN and infinity in weights and answers are refused; the message names the tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgetl.core.errors import InputError, listing


def is_finite(value: Tensor) -> bool:
    """Whether no value of a tensor of any shape is NaN or infinite."""
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def refuse_not_finite_tensors(tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise InputError with the names of tensors, of any shape, that hold NaN or infinity."""
    wrong = {name: value for name, value in tensors.items() if not is_finite(value)}
    if wrong:
        lines = [f"{name}: {how_wrong(value)} of {value.numel():,} values" for name, value in wrong.items()]
        raise InputError(
            f"expected finite weights in {file}, found NaN or infinity in {len(wrong)} of {len(tensors)} tensors:\n{listing(lines, 4)}\n"
            "The training that wrote it diverged, half precision overflowed, or the file is damaged. Give an earlier checkpoint"
        )


def how_wrong(value: Tensor) -> str:
    """How many values of a tensor of any shape are NaN and how many infinite: `3 NaN, 1 infinite`."""
    counts = {"NaN": int(value.isnan().sum()), "infinite": int(value.isinf().sum())}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def refuse_mute(outputs: Tensor, whose: str) -> None:
    """Raise InputError unless the answers of a network, [n, k], are finite."""
    if not is_finite(outputs):
        raise InputError(
            f"expected finite outputs of {whose}, found {how_wrong(outputs)} of {outputs.numel():,} values. "
            "Its weights are too large or damaged: give other weights"
        )
