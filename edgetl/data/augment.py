"""Augmentation: random views of decoded images, a whole batch at a time.

Every random number is keyed by (seed, epoch, sample), so that a run which was killed and resumed sees the same
views. Small images are shifted by whole pixels and flipped; photos are cropped at random scale and aspect
(Szegedy et al. 2015, "Going deeper with convolutions", section 6) and flipped, and their light varies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

DRAWS = 8  # uniform numbers a view may use


@dataclass(frozen=True, kw_only=True)
class Augment:
    """The random views of an image.

    Attributes:
        size: height and width of the views, pixels.
        shift: the largest shift, pixels, for images that are stored at `size`; edges are mirrored.
        scale: the smallest share of the area that a random crop keeps (1 means: no random crop).
        flip: whether left and right may be exchanged.
        light: the largest relative change of brightness, contrast and saturation.
    """

    size: int
    shift: int = 0
    scale: float = 1.0
    flip: bool = False
    light: float = 0.0

    def draws(self, seed: int, epoch: int, count: int) -> NDArray[np.float32]:
        """Uniform numbers in [0, 1), [count, DRAWS]; row i belongs to sample i."""
        return np.random.Generator(np.random.Philox(key=[seed, epoch])).random((count, DRAWS), dtype=np.float32)

    def __call__(self, pixels: Tensor, draws: NDArray[np.float32]) -> Tensor:
        """uint8 [n, 3, side, side] and [n, DRAWS] -> float32 [n, 3, size, size] in 0..255."""
        u = torch.from_numpy(draws).to(pixels.device)
        views = self._shifted(pixels, u) if self.scale == 1.0 and pixels.shape[-1] == self.size else self._cropped(pixels, u)
        return self._lit(views, u) if self.light else views

    def _shifted(self, pixels: Tensor, u: Tensor) -> Tensor:
        """Whole-pixel shifts and flips: one gather, no interpolation."""
        n, _, side, _ = pixels.shape
        steps = torch.arange(side, device=pixels.device)
        rows = steps + _integers(u[:, 0], self.shift)
        columns = steps + _integers(u[:, 1], self.shift)
        if self.flip:
            columns = torch.where(u[:, 2:3] < 0.5, columns, side - 1 - columns)
        rows, columns = _mirrored(rows, side), _mirrored(columns, side)
        index = torch.arange(n, device=pixels.device).view(n, 1, 1)
        nhwc = pixels.permute(0, 2, 3, 1)[index, rows.unsqueeze(2), columns.unsqueeze(1)]
        return nhwc.permute(0, 3, 1, 2).float()

    def _cropped(self, pixels: Tensor, u: Tensor) -> Tensor:
        """Random resized crops and flips: one affine bilinear sampling."""
        area = self.scale + (1 - self.scale) * u[:, 0]
        aspect = torch.exp((2 * u[:, 1] - 1) * math.log(4 / 3)) if self.scale < 1 else torch.ones_like(area)
        width = (area * aspect).sqrt().clamp(max=1.0)
        height = (area / aspect).sqrt().clamp(max=1.0)
        if self.scale == 1.0:
            width = height = torch.full_like(area, self.size / pixels.shape[-1])
        mirror = torch.where(u[:, 2] < 0.5, 1.0, -1.0) if self.flip else torch.ones_like(area)
        theta = torch.zeros(len(u), 2, 3, device=pixels.device)
        theta[:, 0, 0], theta[:, 0, 2] = width * mirror, (1 - width) * (2 * u[:, 3] - 1)
        theta[:, 1, 1], theta[:, 1, 2] = height, (1 - height) * (2 * u[:, 4] - 1)
        grid = F.affine_grid(theta, [len(u), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _lit(self, views: Tensor, u: Tensor) -> Tensor:
        """Brightness, saturation and contrast, each times 1 +- light, as one affine map of the colors of each view."""
        brightness, contrast, saturation = (1 + self.light * (2 * u[:, i].view(-1, 1, 1) - 1) for i in (5, 6, 7))
        n, channels, height, width = views.shape
        colors = views.reshape(n, channels, height * width)
        mean = colors.mean(dim=(1, 2), keepdim=True) * brightness  # that of the view, which saturation leaves as it is
        same, gray = torch.eye(channels, device=views.device), torch.full((channels, channels), 1 / channels, device=views.device)
        mix = contrast * brightness * (saturation * same + (1 - saturation) * gray)
        lit = torch.baddbmm(((1 - contrast) * mean).expand(n, channels, 1), mix, colors)
        return lit.clamp_(0, 255).view(n, channels, height, width)


def _integers(u: Tensor, limit: int) -> Tensor:
    """Uniform [n] -> whole numbers in -limit..limit, [n, 1]."""
    return (u * (2 * limit + 1)).long().sub(limit).unsqueeze(1)


def _mirrored(index: Tensor, side: int) -> Tensor:
    """Positions outside 0..side-1 reflected at the edges."""
    index = index.abs()
    return torch.where(index >= side, 2 * (side - 1) - index, index)
