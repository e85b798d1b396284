"""Decoded images in memory: what training looks at, epoch after epoch, without decoding again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgetl.core.preprocess import Preprocess

PART = 64  # images resized at a time


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

    def spread(self, count: int) -> PixelSet:
        """`count` of the images at most, evenly spread over all."""
        if count >= len(self):
            return self
        at = torch.arange(count) * len(self) // count
        return PixelSet(self.pixels[at], self.labels[at])

    def shrunk(self, side: int) -> PixelSet:
        """The same images at `side` pixels, antialiased."""
        if side == self.pixels.shape[-1] or not len(self):
            return self
        return PixelSet(torch.cat([_resized(part, side) for part in torch.split(self.pixels, PART)]), self.labels)


def _resized(pixels: Tensor, side: int) -> Tensor:
    small = F.interpolate(pixels.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(torch.uint8)


def to_input(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 or float [n, c, h, w] in 0..255 -> normalized float32 [n, c, h, w], channels last."""
    mean = torch.tensor(preprocess.mean, device=pixels.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocess.std, device=pixels.device).view(1, -1, 1, 1)
    return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
