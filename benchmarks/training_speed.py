"""How fast networks train on this machine: one table, images per second, mean and spread over n rounds.

    python benchmarks/training_speed.py [--networks NAME ...] [--size 32] [--batches N ...] [--steps 20] [--rounds 5] [--views] [--compile]
        [--frozen N ...]

A step is forward, backward and SGD on random images. Each round times `steps` steps after one that is not timed; variants take turns,
so that other work on the machine hits all of them alike. `--views` measures what edgetl's training loop does around a step too: gather
the images of a batch, make a random view of each, normalize them. `--frozen` measures networks whose first N blocks do not learn, in
float32 and in the precision that training has on this machine.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import to_input
from edgetl.models.build import build
from edgetl.models.heads import freeze_blocks
from edgetl.training.device import pick_dtype

EPOCH_IMAGES = 50_000
KEPT = 512  # decoded images in memory
VIEWS = "with views"
FROZEN = "frozen"
Variant = tuple[str, int, str, str]  # network, batch size, layout, "", "compiled", "with views" or "2 frozen bfloat16"
FORMATS = {"channels last": torch.channels_last, "NCHW": torch.contiguous_format}


def views(size: int, batch: int) -> Callable[[], torch.Tensor]:
    """A batch of random views as edgetl's training loop makes them."""
    small = size <= 64
    side = size if small else size * 8 // 7
    preprocess = Preprocess(size=size, resize=side)
    augment = Augment(size=size, shift=size // 8, flip=True) if small else Augment(size=size, scale=0.35, flip=True, light=0.3)
    pixels = torch.randint(0, 256, (KEPT, 3, side, side), dtype=torch.uint8)
    draws = augment.draws(0, 0, batch)
    return lambda: to_input(augment(pixels[torch.randperm(KEPT)[:batch]], draws), preprocess)


def stepper(network: str, size: int, batch: int, layout: torch.memory_format, how: str) -> Callable[[], None]:
    """One training step of a fresh network."""
    torch.manual_seed(0)
    model = build(network, 10, size).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    fixed = torch.randn(batch, 3, size, size).to(memory_format=layout)
    inputs = views(size, batch) if how == VIEWS else lambda: fixed
    y = torch.randint(0, 10, (batch,))
    run: Callable[..., torch.Tensor] = torch.compile(model) if how == "compiled" else model
    blocks, _, dtype = how.partition(f" {FROZEN} ")
    if dtype:
        freeze_blocks(model, int(blocks))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = nn.functional.cross_entropy(run(inputs()), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def seconds(step: Callable[[], None], steps: int) -> float:
    """Wall time of one step, averaged over `steps` after one that is not counted."""
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["cifar_resnet20", "cifar_resnet16"])
    parser.add_argument("--size", type=int, default=32, help="height and width of the images, pixels")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--views", action="store_true", help="also with the views that edgetl's loop makes")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile (needs a C++ compiler)")
    parser.add_argument("--frozen", nargs="+", type=int, default=[], metavar="N", help="also with the first N blocks frozen")
    args = parser.parse_args()
    dtypes = dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in (torch.float32, pick_dtype(torch.device("cpu"))))
    frozen = [f"{count} {FROZEN} {dtype}" for count in args.frozen for dtype in dtypes]
    hows = ["", *([VIEWS] if args.views else []), *(["compiled"] if args.compile else []), *frozen]
    variants = [
        (network, batch, name, how)
        for network in args.networks
        for batch in args.batches
        for name in FORMATS
        for how in (hows if name == "channels last" else [""])
    ]
    steppers = {variant: stepper(variant[0], args.size, variant[1], FORMATS[variant[2]], variant[3]) for variant in variants}
    times: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for _ in range(args.rounds):
        for variant, step in steppers.items():
            times[variant].append(seconds(step, args.steps))
    report(times, args.rounds, args.size)


def report(times: dict[Variant, list[float]], rounds: int, size: int) -> None:
    """The table, with machine, versions and n."""
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {size} px, n = {rounds} rounds")
    print(f"{'network':<26}{'batch':>6}  {'layout':<14}{'':<20}{'images/s':>16}{'s per 50,000':>14}")
    for (network, batch, name, how), found in times.items():
        speeds = [batch / value for value in found]
        spread = statistics.stdev(speeds) if len(speeds) > 1 else float("nan")
        speed = f"{statistics.mean(speeds):.1f} +- {spread:.1f}"
        each = EPOCH_IMAGES / statistics.mean(speeds)
        print(f"{network:<26}{batch:>6}  {name:<14}{how:<20}{speed:>16}{each:>14.0f}")


if __name__ == "__main__":
    main()
