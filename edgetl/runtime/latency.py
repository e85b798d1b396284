"""How long one image takes. Models that are compared are run in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.progress import track
from edgetl.runtime.cpu import cpu_name
from edgetl.runtime.session import Session, open_session

WARM_UP = 3  # calls that are not counted: the first ones allocate and choose kernels
DEFAULT_SIDE = 224  # pixels, where the file leaves height and width open
NS_PER_MS = 1e6


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one image: median and 90th percentile over `runs` calls with `threads` threads on the CPU named `cpu`."""

    p50: float
    p90: float
    threads: int
    runs: int
    cpu: str


def measure(path: Path, runs: int, threads: int = 1) -> Latency:
    """The latency of one model, in milliseconds."""
    return measure_all([path], runs, threads)[0]


def measure_all(paths: Sequence[Path], runs: int, threads: int = 1, *, like: Sequence[int] | None = None) -> list[Latency]:
    """The latency of the model in each file, in milliseconds; `like` as for `sample`, otherwise as `timed`."""
    sessions = [open_session(path, threads=threads) for path in paths]
    return timed(sessions, [sample(session, like) for session in sessions], runs)


def timed(sessions: Sequence[Session], images: Sequence[NDArray[np.float32]], runs: int) -> list[Latency]:
    """The latency of each model on its image, in milliseconds; every round runs each of them once, in an order of its own.

    Always behind the same other model, a model finds the caches as that one left them: behind a large float one, an int8 ResNet-20 took
    2 to 4% longer than behind another int8 one (docs/log.md).

    Raises:
        InputError: a model that cannot be used.
    """
    times, rng = np.zeros((runs, len(sessions))), np.random.default_rng(0)
    with track("latency", total=runs, unit="round") as bar:
        for turn in range(-WARM_UP, runs):
            for index in rng.permutation(len(sessions)):
                begin = time.perf_counter_ns()
                sessions[index].compute(images[index])
                if turn >= 0:
                    times[turn, index] = (time.perf_counter_ns() - begin) / NS_PER_MS
            if turn >= 0:
                bar.advance()
    p50, p90 = np.percentile(times, [50, 90], axis=0)
    cpu = cpu_name()
    return [Latency(p50=float(p50[i]), p90=float(p90[i]), threads=s.threads, runs=runs, cpu=cpu) for i, s in enumerate(sessions)]


def sample(session: Session, like: Sequence[int] | None = None) -> NDArray[np.float32]:
    """One input of normal noise, always the same: float32 [1, c, h, w].

    What the file leaves open is as `like` [c, h, w] has it: 3 channels of 224 x 224 pixels, unless given.
    """
    usual = like or (3, DEFAULT_SIDE, DEFAULT_SIDE)
    channels, height, width = (size or other for size, other in zip(session.input_shape[1:], usual, strict=True))
    return np.random.default_rng(0).standard_normal((1, channels, height, width), dtype=np.float32)
