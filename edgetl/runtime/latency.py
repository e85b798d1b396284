"""How long one image takes. Models that are compared are opened and run in turns, so that a busy machine slows all alike.

How busy it was is told beside the times: a small loop of always the same work runs before and after them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.progress import track
from edgetl.runtime.cpu import cpu_name
from edgetl.runtime.session import Session, open_session

WARM_UP = 3  # calls that are not counted: the first ones allocate and choose kernels
DEFAULT_SIDE = 224  # pixels, where the file leaves height and width open
NS_PER_MS = 1e6
TURNS, FEWEST_RUNS = 3, 5  # times that all models are opened anew, with so many runs each at least
MOVED = 0.1  # of a median: a measurement that moved by more is marked
ROUNDS, WORK = 100, 30_000  # of the calibration loop, together about 60 ms
Opened = tuple[Session, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one image: median and 90th percentile over `runs` calls with `threads` threads on the CPU named `cpu`.

    Attributes:
        spread: how far the medians of the turns lie apart, as a fraction of the lowest; None: there was one turn.
        loop_ms: of a round of the calibration loop, before and after.
        busy: the share of that loop's time that other work had the CPU, the larger of both, a fraction.
        moved: whether the medians, or the loop, moved by more than a tenth: not to be relied on.
    """

    p50: float
    p90: float
    threads: int
    runs: int
    cpu: str
    spread: float | None
    loop_ms: tuple[float, float]
    busy: float
    moved: bool


def drift_warning(measured: Mapping[str, Latency]) -> str | None:
    """A warning that latencies changed during the measurement, with the models' names; None if they did not."""
    apart = [name if each.spread is None else f"{name} by {each.spread:.0%}" for name, each in measured.items() if each.moved]
    if not apart:
        return None
    before, after = next(iter(measured.values())).loop_ms
    busy = max(each.busy for each in measured.values())
    return (
        "latencies are estimates: they, or the speed of this machine, changed by more than 10% during the measurement "
        f"({', '.join(apart)}; a fixed loop took "
        f"{before:.2f} ms before and {after:.2f} ms after; other programs used {busy:.0%} of the CPU). Measure again on an idle machine"
    )


def measure(path: Path, runs: int, threads: int = 1) -> Latency:
    """The latency of one model, in milliseconds."""
    return measure_all([path], runs, threads)[0]


def measure_all(paths: Sequence[Path], runs: int, threads: int = 1, *, like: Sequence[int] | None = None) -> list[Latency]:
    """The latency of the model in each file, in milliseconds; `like` as for `sample`, otherwise as `in_turns`."""

    def opened(path: Path) -> Opened:
        session = open_session(path, threads=threads)
        return session, sample(session, like)

    return in_turns([partial(opened, path) for path in paths], runs)


def in_turns(models: Sequence[Callable[[], Opened]], runs: int) -> list[Latency]:
    """The latency of each model, in milliseconds, with what the machine did meanwhile.

    In each of a few turns all models are opened anew, and every round runs each of them once, all in orders of their own. Always behind the
    same other model, a model finds the caches as that one left them: behind a large float one, an int8 ResNet-20 took 2 to 4% longer than
    behind another int8 one; always opened last, it was 2% faster (docs/log.md).

    Args:
        models: each opens a model, and gives its session and its image.
        runs: calls of each that count.

    Raises:
        InputError: a model that cannot be used.
    """
    rng, turns = np.random.default_rng(0), max(1, min(TURNS, runs // FEWEST_RUNS))
    times, threads = np.zeros((runs, len(models))), [0] * len(models)
    before = calibration_loop()
    with track("latency", total=runs, unit="round") as bar:
        for rounds in np.array_split(np.arange(runs), turns):
            opened = {int(index): models[index]() for index in rng.permutation(len(models))}
            for turn in (*[None] * WARM_UP, *rounds):
                for index in rng.permutation(len(models)):
                    session, image = opened[int(index)]
                    begin = time.perf_counter_ns()
                    session.compute(image)
                    if turn is not None:
                        times[turn, index] = (time.perf_counter_ns() - begin) / NS_PER_MS
                    threads[index] = session.threads
                if turn is not None:
                    bar.advance()
    return _read(times, threads, turns, (before, calibration_loop()))


def _read(times: NDArray[np.float64], threads: Sequence[int], turns: int, loops: tuple[Loop, Loop]) -> list[Latency]:
    """The latency of each model from the times, ms [runs, models]."""
    p50, p90 = np.percentile(times, [50, 90], axis=0)
    medians = np.stack([np.median(part, axis=0) for part in np.array_split(times, turns)])
    spread = medians.max(axis=0) / medians.min(axis=0) - 1
    before, after = loops
    drifted = max(before.ms, after.ms) / min(before.ms, after.ms) - 1 > MOVED
    return [
        Latency(
            p50=float(p50[i]),
            p90=float(p90[i]),
            threads=threads[i],
            runs=len(times),
            cpu=cpu_name(),
            spread=float(spread[i]) if turns > 1 else None,
            loop_ms=(before.ms, after.ms),
            busy=max(before.busy, after.busy),
            moved=bool(drifted or spread[i] > MOVED),
        )
        for i in range(times.shape[1])
    ]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Median ms of a round of always the same work, and the share of its time that other work had the CPU."""

    ms: float
    busy: float


def calibration_loop() -> Loop:
    """Run it; about 60 ms."""
    rounds, begin, worked = np.zeros(ROUNDS), time.perf_counter_ns(), time.thread_time_ns()
    for number in range(ROUNDS):
        start = time.perf_counter_ns()
        sum(range(WORK))
        rounds[number] = time.perf_counter_ns() - start
    worked, whole = time.thread_time_ns() - worked, time.perf_counter_ns() - begin
    return Loop(ms=float(np.median(rounds)) / NS_PER_MS, busy=float(np.clip(1 - worked / whole, 0, 1)))


def sample(session: Session, like: Sequence[int] | None = None) -> NDArray[np.float32]:
    """One input of normal noise, always the same: float32 [1, c, h, w].

    What the file leaves open is as `like` [c, h, w] has it: 3 channels of 224 x 224 pixels, unless given.
    """
    usual = like or (3, DEFAULT_SIDE, DEFAULT_SIDE)
    channels, height, width = (size or other for size, other in zip(session.input_shape[1:], usual, strict=True))
    return np.random.default_rng(0).standard_normal((1, channels, height, width), dtype=np.float32)
