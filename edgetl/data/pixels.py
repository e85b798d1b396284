"""Decoded images in memory: what training looks at, epoch after epoch, without decoding again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgetl.core.preprocess import Preprocess


@dataclass(frozen=True)
class PixelSet:
    """Images of one size with their labels.

    Attributes:
        pixels: uint8 [n, 3, side, side], RGB.
        labels: int64 [n].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


def to_input(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 or float [n, 3, h, w] in 0..255 -> normalized float32 [n, 3, h, w], channels last."""
    mean = torch.tensor(preprocess.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std, device=pixels.device).view(1, 3, 1, 1)
    return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
