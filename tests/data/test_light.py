"""The light of views: one affine map is brightness, saturation and contrast in a row."""

from __future__ import annotations

import torch

from edgetl.data.augment import DRAWS, Augment


def test_light_is_brightness_then_saturation_then_contrast() -> None:
    torch.manual_seed(0)
    views, u = torch.rand(4, 3, 9, 7) * 255, torch.rand(4, DRAWS)
    b, c, s = (1 + 0.3 * (2 * u[:, i].view(-1, 1, 1, 1) - 1) for i in (5, 6, 7))
    bright = views * b
    gray = bright.mean(dim=1, keepdim=True)
    colored = gray + (bright - gray) * s
    mean = bright.mean(dim=(1, 2, 3), keepdim=True)
    expected = (mean + (colored - mean) * c).clamp(0, 255)
    found = Augment(size=7, light=0.3)._lit(views, u)
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(found, views, atol=1)
