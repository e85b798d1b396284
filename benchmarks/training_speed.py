"""How fast the small residual networks train on this machine: one table, images per second, mean and spread over n rounds.

    python benchmarks/training_speed.py [--networks NAME ...] [--batches N ...] [--steps 20] [--rounds 5] [--compile]

A step is forward, backward and SGD on random 32x32 images. Each round times `steps` steps after two that are not timed;
variants take turns, so that other work on the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from edgetl.models import resnet

EPOCH_IMAGES = 50_000
Variant = tuple[str, int, str, bool]  # network, batch size, layout, compiled
FORMATS = {"channels last": torch.channels_last, "NCHW": torch.contiguous_format}


def stepper(network: str, batch: int, layout: torch.memory_format, compiled: bool) -> Callable[[], None]:
    """One training step of a fresh network."""
    torch.manual_seed(0)
    model: nn.Module = getattr(resnet, network)()
    model = model.to(memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = torch.randn(batch, 3, 32, 32).to(memory_format=layout)
    y = torch.randint(0, 10, (batch,))
    run: Callable[..., torch.Tensor] = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(run(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def seconds(step: Callable[[], None], steps: int) -> float:
    """Wall time of one step, averaged over `steps` after two that are not counted."""
    for _ in range(2):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["cifar_resnet20", "cifar_resnet16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile (needs a C++ compiler)")
    args = parser.parse_args()
    variants = [
        (network, batch, name, compiled)
        for network in args.networks
        for batch in args.batches
        for name in FORMATS
        for compiled in ((False, True) if args.compile and name == "channels last" else (False,))
    ]
    steppers = {variant: stepper(variant[0], variant[1], FORMATS[variant[2]], variant[3]) for variant in variants}
    times: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for _ in range(args.rounds):
        for variant, step in steppers.items():
            times[variant].append(seconds(step, args.steps))
    report(times, args.rounds)


def report(times: dict[Variant, list[float]], rounds: int) -> None:
    """The table, with machine, versions and n."""
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, n = {rounds} rounds")
    print(f"{'network':<16}{'batch':>6}  {'layout':<14}{'compiled':<10}{'images/s':>16}{'s per 50,000':>14}")
    for (network, batch, name, compiled), found in times.items():
        speeds = [batch / value for value in found]
        spread = statistics.stdev(speeds) if len(speeds) > 1 else float("nan")
        speed = f"{statistics.mean(speeds):.0f} +- {spread:.0f}"
        each = EPOCH_IMAGES / statistics.mean(speeds)
        print(f"{network:<16}{batch:>6}  {name:<14}{'yes' if compiled else 'no':<10}{speed:>16}{each:>14.0f}")


if __name__ == "__main__":
    main()
