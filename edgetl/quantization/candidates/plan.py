"""The plan of a quantization: how much of each step is worth its work, and what a time limit leaves time for."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import onnx

from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.quantization.candidates.trials import TOO_LATE, TOO_MUCH, NotTried
from edgetl.quantization.observe.effort import (
    ATTRIBUTED_IMAGES,
    ATTRIBUTED_PIXELS,
    DEFAULT_MULTIPLY_ADDS,
    FEWEST_CALIBRATION,
    FEWEST_IN_A_HURRY,
    JUDGED_FORWARDS,
    REFINED_IMAGES,
    REFINED_PIXELS,
    Clock,
    Effort,
    Wanted,
    effort,
    images_for,
    speed,
    time_in_words,
)
from edgetl.quantization.observe.split_for_judging import PartSizes
from edgetl.quantization.observe.work import Work
from edgetl.runtime.session import InputSource

FEWEST_TO_REFINE, FEWEST_TO_TUNE = 12, 32  # images that are worth being rounded on, and being tuned on
PLANNED_SHARE = 0.7  # of what is left, that is planned for
TORCH_SECONDS = 4.0  # to load it


@dataclass(frozen=True, kw_only=True)
class WorkPlan:
    """The amount of work for each step, the speed of this machine, and the time limit.

    Attributes:
        refined: images that rounding and biases look at.
        speed: multiply-adds a second; only what is announced, and what a time limit allows, depends on it.
        after: seconds that are needed after the steps.
    """

    work: Work
    effort: Effort
    refined: int
    clock: Clock
    speed: float
    after: float

    def time_for(self, multiply_adds: float) -> None:
        """Raise NotTried where a time limit leaves no time for a step of so many multiply-adds."""
        if self.clock.seconds is not None and self.seconds(multiply_adds) > self.left:
            raise NotTried(self.why_not)

    @property
    def why_not(self) -> str:
        """The reason for a step that is left out."""
        return TOO_MUCH if self.clock.seconds is None else TOO_LATE

    def seconds(self, multiply_adds: float) -> float:
        """The time of so many multiply-adds on this machine; with the time to import torch, if that is not done yet."""
        return multiply_adds / self.speed + (0 if "torch" in sys.modules else TORCH_SECONDS)

    @property
    def left(self) -> float:
        """Seconds that are left for a step."""
        return self.clock.left - self.after


def plan_work(model: onnx.ModelProto, source: InputSource, threads: int, clock: Clock, tune_images: int | None, *, after: int) -> WorkPlan:
    """The plan for a prepared graph and its calibration images, announced.

    Args:
        model: the graph.
        source: the images.
        threads: of onnxruntime, for the speed.
        clock: the time limit; without one, speed decides nothing.
        tune_images: images for tuning, if a number was asked for.
        after: images that both models answer after quantization.

    Raises:
        InputError: no images, or none that fit the model.
    """
    first = next(iter(source.batches(1)), None)
    if first is None:
        raise InputError("expected at least one calibration image, found none")
    image = first.x[0]
    pixels = image.shape[1] * image.shape[2]
    work = Work.of(model, image)
    fast = speed(model, work, image, threads)
    ending = after * JUDGED_FORWARDS * work.one_pass / fast
    limit, fewest = float(DEFAULT_MULTIPLY_ADDS), FEWEST_CALIBRATION
    if clock.seconds is not None:
        limit, fewest = fast * max(1.0, PLANNED_SHARE * (clock.left - ending)), FEWEST_IN_A_HURRY
    images = wanted(len(source), pixels, tune_images)
    allowed = effort(work, images, pixels, limit, fewest, asked=tune_images is not None)
    plan = WorkPlan(work=work, effort=allowed, refined=images.refined, clock=clock, speed=fast, after=ending)
    _announce(plan)
    return plan


def wanted(images: int, pixels: int, tune_images: int | None) -> Wanted:
    """The images that each step would use if work cost nothing; `images` calibration images of `pixels` pixels."""
    sizes = PartSizes.of(images)
    return Wanted(
        calibration=images,
        refined=max(8, min(REFINED_IMAGES, REFINED_PIXELS // pixels)) if sizes.fitted >= FEWEST_TO_REFINE else 0,
        tuned=tune_images if tune_images is not None else images_for(sizes.fitted, pixels) if sizes.fitted >= FEWEST_TO_TUNE else 0,
        attributed=min(sizes.chose, max(8, min(ATTRIBUTED_IMAGES, ATTRIBUTED_PIXELS // pixels))),
    )


def _announce(plan: WorkPlan) -> None:
    took, limit = time_in_words(plan.seconds(plan.effort.multiply_adds)), plan.clock.seconds
    if limit is None:
        say(f"quantize: takes at most about {took}")
    else:
        say(f"quantize: stops after {limit:g} seconds; with a time limit, two runs may give different bytes")
    if plan.effort.shortened:
        reason = "to keep the work small (--time-limit SECONDS allows more)" if limit is None else "to keep to the time limit"
        say(f"quantize: {'; '.join(plan.effort.shortened)}, {reason}")
