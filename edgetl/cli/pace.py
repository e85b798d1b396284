"""How fast networks are on this machine: some random images through untrained weights, timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgetl.data.augment import Augment
from edgetl.models.build import build
from edgetl.models.heads import freeze_blocks
from edgetl.training.device import on_device, pick_dtype, synchronize

PIXELS, MOST_IMAGES, FEWEST_IMAGES = 8 * 224 * 224, 64, 2  # of the images of one run
GPU_PIXELS, MOST_GPU_IMAGES = 16 * PIXELS, 512  # fewer leave it idle
STORED = 8 / 7  # times larger than a view is the image that it is cut from (`edgetl.data.decode`)
LONG_ENOUGH_S, MOST_RUNS = 0.1, 8  # after that no run is begun


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds an image.

    Attributes:
        features: of a forward pass in float32.
        answers: of one in the precision that training has on this device.
        step: forward and backward in that precision.
    """

    features: float
    answers: float
    step: float


def pace(arch: str, classes: int, size: int, device: torch.device, *, frozen: int = 0) -> Pace:
    """The pace of an architecture for images of `size` pixels, of which the first `frozen` blocks do not learn; about a second."""
    model = on_device(build(arch, classes, size), device)
    count = _count(size, device)
    x = torch.rand(count, 3, size, size).to(device).contiguous(memory_format=torch.channels_last)
    freeze_blocks(model, frozen)

    def forward() -> torch.Tensor:
        found: torch.Tensor = model(x)
        return found

    @torch.no_grad()
    def unlearned() -> None:
        forward()

    def learned() -> None:
        forward().sum().backward()  # type: ignore[no-untyped-call]

    dtype = pick_dtype(device)
    model.eval()
    features = _seconds(unlearned, device) / count
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        answers = _seconds(unlearned, device) / count if dtype != torch.float32 else features
        model.train()
        step = _seconds(learned, device) / count
    return Pace(features=features, answers=answers, step=step)


def view_pace(augment: Augment, device: torch.device) -> float:
    """Seconds that a random view of an image takes."""
    count, side = _count(augment.size, device), round(augment.size * (STORED if augment.scale < 1 else 1))
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8, device=device)
    draws = augment.draws(0, 0, count)
    return _seconds(lambda: augment(pixels, draws), device) / count


def _count(size: int, device: torch.device) -> int:
    """How many images are looked at at once."""
    pixels, most = (PIXELS, MOST_IMAGES) if device.type == "cpu" else (GPU_PIXELS, MOST_GPU_IMAGES)
    return max(FEWEST_IMAGES, min(most, pixels // size**2))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The fastest of a few runs; the first, which allocates, counts only where it is long enough alone."""
    times: list[float] = []
    while len(times) < MOST_RUNS and (len(times) < 2 or sum(times) < LONG_ENOUGH_S):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - started)
        if times[0] > 10 * LONG_ENOUGH_S:
            break
    return min(times)
