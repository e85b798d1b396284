"""The budget of quantization work: fixed beforehand, from counts of operations, so the same inputs give the same bytes on every machine.

About five minutes on two cores of a laptop without AVX-512, which make 40 G multiply-adds a second (a Conv with its share of what is
beside it). Where that is not enough, there are fewer images, down to what is of use; below that a step is left out.

With a time limit the clock decides: this machine's speed instead of that laptop's, and what is not done when time is up, is not done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.observe.split_for_judging import FEW_IMAGES, FEW_PIXELS, FEWEST_TO_CHOOSE
from edgetl.quantization.observe.work import Work
from edgetl.runtime.session import open_graph

DEFAULT_MULTIPLY_ADDS = 12_000_000_000_000  # multiply-adds: 300 s
# Forward passes that a step makes of each image it looks at: measured, and backward passes counted as what they cost
OBSERVED_FORWARDS, STARTED_FORWARDS, REFINED_FORWARDS, TUNED_FORWARDS, ATTRIBUTED_FORWARDS, JUDGED_FORWARDS = 2.5, 10.0, 4.0, 4.0, 5.0, 0.3
REFINED_PIXELS, REFINED_IMAGES = 400_000, 256  # of the images that a step looks at, at most
ATTRIBUTED_PIXELS, ATTRIBUTED_IMAGES = 1_600_000, 128
TUNED_PIXELS, TUNED_ROUNDS, TUNED_AT_LEAST = 60_000_000, 12, 16  # how often each image at most, and how many images at least
FEWEST_CALIBRATION, FEWEST_IN_A_HURRY, FEWEST_TUNED, FEWEST_ATTRIBUTED = 32, FEWEST_TO_CHOOSE, 300, 4
SHARE_CALIBRATION, SHARE_REFINED, SHARE_ATTRIBUTED = 0.4, 0.3, 0.1  # of the limit, at most
TIMED_RUNS = 3  # runs of which the fastest says how fast this machine is


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The number of images for each step if work cost nothing."""

    calibration: int
    refined: int
    tuned: int
    attributed: int


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The amount of work of each step.

    Attributes:
        calibration: images that are seen.
        equalize, refine: whether channels are equalized, and weights rounded to second order.
        tuned: images that the tuning looks at; 0: no tuning.
        attributed: images whose noise is attributed; 0: none.
        multiply_adds: of all that.
        shortened: what was left out or shortened, in words.
    """

    calibration: int
    equalize: bool
    refine: bool
    tuned: int
    attributed: int
    multiply_adds: int
    shortened: tuple[str, ...]


def effort(
    work: Work, wanted: Wanted, pixels: int, limit: float = DEFAULT_MULTIPLY_ADDS, fewest: int = FEWEST_CALIBRATION, *, asked: bool = False
) -> Effort:
    """The steps that keep to `limit` multiply-adds, as far as the fewest calibration images do.

    Args:
        work: of one image.
        wanted: images of each step without a limit.
        pixels: of an image.
        limit: multiply-adds.
        fewest: calibration images at least.
        asked: whether the user chose the number of images for tuning, which then stays.
    """
    pass_, shortened = work.one_pass, list[str]()

    def fitting(name: str, images: int, passes: float, allowed: float, least: int) -> int:
        """The images that `allowed` multiply-adds are enough for, at most `images`; 0 if these are fewer than `least`."""
        fit = min(images, int(max(0.0, allowed) / (passes * pass_)))
        fit = fit if fit >= min(least, images) else 0
        if fit < images:
            shortened.append(f"{name} on {fit} of {images} images" if fit else f"no {name}")
        return fit

    calibration = max(
        min(fewest, wanted.calibration), min(wanted.calibration, int(SHARE_CALIBRATION * limit / (OBSERVED_FORWARDS * pass_)))
    )
    if calibration < wanted.calibration:
        shortened.append(f"ranges from {calibration} of {wanted.calibration} calibration images")
    few = min(calibration, FEW_IMAGES, max(1, FEW_PIXELS // pixels))
    starting, refining = STARTED_FORWARDS * few * pass_, REFINED_FORWARDS * wanted.refined * pass_ + work.rounding
    used = OBSERVED_FORWARDS * calibration * pass_
    if not (equalize := starting <= SHARE_REFINED * limit):
        shortened.append("no equalization of layers")
    if not (refine := refining <= SHARE_REFINED * limit):
        shortened.append("no second-order rounding")
    used += starting * equalize + refining * refine
    attributed = fitting("attribution of noise", wanted.attributed, ATTRIBUTED_FORWARDS, SHARE_ATTRIBUTED * limit, FEWEST_ATTRIBUTED)
    used += attributed * ATTRIBUTED_FORWARDS * pass_
    tuned = wanted.tuned if asked else fitting("tuning", wanted.tuned, TUNED_FORWARDS, limit - used, FEWEST_TUNED)
    return Effort(
        calibration=calibration,
        equalize=equalize,
        refine=refine,
        tuned=tuned,
        attributed=attributed,
        multiply_adds=int(used + tuned * TUNED_FORWARDS * pass_),
        shortened=tuple(shortened),
    )


def speed(model: onnx.ModelProto, work: Work, image: NDArray[np.float32], threads: int) -> float:
    """Multiply-adds a second of this machine, as `Work` counts them: from a few runs of the graph on an image [c, h, w]."""
    session, best = open_graph(model, threads=threads), inf
    for _ in range(1 + TIMED_RUNS):
        begin = time.perf_counter()
        session.run(image[np.newaxis])
        best = min(best, time.perf_counter() - begin)
    return JUDGED_FORWARDS * work.one_pass / best


def images_for(count: int, pixels: int) -> int:
    """How many images tuning looks at, of `count` images of `pixels` pixels: fewer if they are large, each a limited number of times."""
    return max(TUNED_AT_LEAST, min(TUNED_ROUNDS * count, TUNED_PIXELS // pixels))


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A time limit in seconds, from the moment the clock is made; None: no limit."""

    seconds: float | None = None
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without a limit."""
        return inf if self.seconds is None else self.begun + self.seconds - time.monotonic()


def time_in_words(seconds: float) -> str:
    """A time in words, rounded as coarsely as the estimate is."""
    if seconds < 20:
        return "10 seconds" if seconds < 10 else "20 seconds"
    return f"{10 * round(seconds / 10)} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
