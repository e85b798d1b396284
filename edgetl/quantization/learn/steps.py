"""The steps that need torch, which they import: other roundings, other biases, all numbers together, where noise comes from."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import onnx

from edgetl.core.errors import InputError
from edgetl.core.progress import detail, say
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.trials import TOO_LATE, TOO_MUCH, NotTried, Trials, in_torch
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.observe.effort import (
    ATTRIBUTED_FORWARDS,
    ATTRIBUTED_IMAGES,
    ATTRIBUTED_PIXELS,
    DEFAULT_MULTIPLY_ADDS,
    FEWEST_CALIBRATION,
    FEWEST_IN_A_HURRY,
    FEWEST_TUNED,
    JUDGED_FORWARDS,
    REFINED_FORWARDS,
    REFINED_IMAGES,
    REFINED_PIXELS,
    TUNED_FORWARDS,
    Clock,
    Effort,
    Wanted,
    effort,
    images_for,
    in_words,
    speed,
)
from edgetl.quantization.observe.ranges import percentile
from edgetl.quantization.observe.split_for_judging import PartSizes
from edgetl.quantization.observe.work import Work
from edgetl.runtime.session import InputSource

SAID_SOURCES = 3  # sources of noise on the screen
FEWEST_TO_REFINE, FEWEST_TO_TUNE = 12, 32  # images that are worth being rounded on, and being tuned on
COSTLY_MULTIPLY_ADDS = DEFAULT_MULTIPLY_ADDS / 4  # of a tuning that is given up where it does not help by a quarter of its steps
PLANNED_SHARE = 0.7  # of what is left, that is planned for
TORCH_SECONDS = 4.0  # to load it
QUIET_DB = 34.0  # dB, noise of 2% of the logits: from there on, tuning bought half a decibel at most, or nothing (docs/log.md)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is worth doing, how fast this machine is, and when the time is up.

    Attributes:
        refined: images that rounding and biases look at.
        speed: multiply-adds a second; only what is announced, and what a time limit allows, depends on it.
        after: seconds that are needed when the steps are done.
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
        """Why a step is left out."""
        return TOO_MUCH if self.clock.seconds is None else TOO_LATE

    def seconds(self, multiply_adds: float) -> float:
        """What they take here; with torch, which may have to be loaded."""
        return multiply_adds / self.speed + (0 if "torch" in sys.modules else TORCH_SECONDS)

    @property
    def left(self) -> float:
        """Seconds for a step."""
        return self.clock.left - self.after


def planned(model: onnx.ModelProto, source: InputSource, threads: int, clock: Clock, tune_images: int | None, *, after: int) -> Plan:
    """The plan for a prepared graph and its calibration images, announced.

    Args:
        model: the graph.
        source: the images.
        threads: of onnxruntime, for the speed.
        clock: the time limit; without one, speed decides nothing.
        tune_images: as many images are tuned on as were asked for.
        after: images that both models answer when int8 is made.

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
    plan = Plan(work=work, effort=allowed, refined=images.refined, clock=clock, speed=fast, after=ending)
    _announce(plan)
    return plan


def wanted(images: int, pixels: int, tune_images: int | None) -> Wanted:
    """Images of each step, if work cost nothing, of so many calibration images of so many pixels."""
    sizes = PartSizes.of(images)
    return Wanted(
        calibration=images,
        refined=max(8, min(REFINED_IMAGES, REFINED_PIXELS // pixels)) if sizes.fitted >= FEWEST_TO_REFINE else 0,
        tuned=tune_images if tune_images is not None else images_for(sizes.fitted, pixels) if sizes.fitted >= FEWEST_TO_TUNE else 0,
        attributed=min(sizes.chose, max(8, min(ATTRIBUTED_IMAGES, ATTRIBUTED_PIXELS // pixels))),
    )


def _announce(plan: Plan) -> None:
    took, limit = in_words(plan.seconds(plan.effort.multiply_adds)), plan.clock.seconds
    if limit is None:
        say(f"quantize: takes at most about {took}")
    else:
        say(f"quantize: stops after {limit:g} seconds; with a time limit, two runs may give different bytes")
    if plan.effort.shortened:
        reason = "to keep the work small (--time-limit SECONDS allows more)" if limit is None else "to keep to the time limit"
        say(f"quantize: {'; '.join(plan.effort.shortened)}, {reason}")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps on a baseline and the images that fit."""

    baseline: Baseline
    fitting: InputSource
    plan: Plan
    threads: int

    def refined(self, graph: onnx.ModelProto, *, second_order: bool = False, correct_biases: bool = False) -> onnx.ModelProto:
        """Other roundings or other biases, one layer after the other.

        Raises:
            NotTried: too few images, or no time for it.
        """
        if len(self.fitting) < FEWEST_TO_REFINE:
            raise NotTried(f"fewer than {FEWEST_TO_REFINE} calibration images to fit on")
        if not self.plan.effort.refine:
            raise NotTried(self.plan.why_not)
        self.plan.time_for(REFINED_FORWARDS * self.plan.refined / 2 * self.plan.work.one_pass + second_order * self.plan.work.rounding)

        def step() -> onnx.ModelProto:
            from edgetl.quantization.learn.rounding import refined

            asked = {"second_order": second_order, "correct_biases": correct_biases}
            return refined(self.baseline.model, graph, self.fitting, pairs=self.baseline.pairs, threads=self.threads, **asked)

        return in_torch(step)

    def tuned(self, graph: onnx.ModelProto, images: int | None, sqnr_db: float) -> onnx.ModelProto:
        """All numbers together, unless there is next to nothing to be won.

        Raises:
            NotTried: too few images, no time for it, or noise that is low enough already.
        """
        if images is None and len(self.fitting) < FEWEST_TO_TUNE:
            raise NotTried(f"fewer than {FEWEST_TO_TUNE} calibration images to fit on")
        if images is None and sqnr_db >= QUIET_DB:
            raise NotTried(f"{sqnr_db:.1f} dB already (--tune-images N tunes all the same)")
        count = self.plan.effort.tuned if images is None else images
        if not count:
            raise NotTried(self.plan.why_not)
        seconds = None
        if self.plan.clock.seconds is not None:
            self.plan.time_for(TUNED_FORWARDS * FEWEST_TUNED * self.plan.work.one_pass)
            seconds = self.plan.left - self.plan.seconds(ATTRIBUTED_FORWARDS * self.plan.effort.attributed * self.plan.work.one_pass)

        def step() -> onnx.ModelProto:
            from edgetl.quantization.learn.tune import tune

            return tune(
                self.baseline.model,
                graph,
                self.fitting,
                pairs=self.baseline.pairs,
                images=count,
                threads=self.threads,
                seconds=seconds,
                may_give_up=images is None and TUNED_FORWARDS * count * self.plan.work.one_pass > COSTLY_MULTIPLY_ADDS,
            )

        return in_torch(step)

    def noise(self, trials: Trials) -> tuple[NoiseSource, ...]:
        """The worst sources of noise, with what was seen of them; none where there are too few images, or no gradients."""
        images, source = self.plan.effort.attributed, trials.choosing
        if not images or source is None or all(trial.why_not is not None for trial in trials.log[-2:]):
            return ()

        def step() -> tuple[NoiseSource, ...]:
            from edgetl.quantization.learn.attribution import attribute

            self.plan.time_for(ATTRIBUTED_FORWARDS * images * self.plan.work.one_pass)
            return attribute(self.baseline.model, trials.best, source, pairs=self.baseline.pairs, images=images, threads=self.threads)

        try:
            found = in_torch(step)
        except NotTried:
            return ()
        described = tuple(
            replace(source, low=seen.low, high=seen.high, usual=percentile(seen, 99.8).high)
            if (seen := self.baseline.seen.get(source.name)) is not None
            else source
            for source in found
        )
        for source_of in described[:SAID_SOURCES]:
            detail(f"quantize: {source_of.line()}")
        return described
