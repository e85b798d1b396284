"""The steps that import torch: second-order rounding, bias correction, tuning, and the attribution of noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx

from edgetl.core.progress import detail
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.plan import FEWEST_TO_REFINE, FEWEST_TO_TUNE, WorkPlan
from edgetl.quantization.candidates.trials import NotTried, Trials, in_torch
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.observe.effort import (
    ATTRIBUTED_FORWARDS,
    DEFAULT_MULTIPLY_ADDS,
    FEWEST_TUNED,
    REFINED_FORWARDS,
    TUNED_FORWARDS,
)
from edgetl.quantization.observe.ranges import percentile
from edgetl.runtime.session import InputSource

SAID_SOURCES = 3  # sources of noise on the screen
COSTLY_MULTIPLY_ADDS = DEFAULT_MULTIPLY_ADDS / 4  # of a tuning that is given up where it does not help by a quarter of its steps
QUIET_DB = 34.0  # dB, noise of 2% of the logits: from there on, tuning bought half a decibel at most, or nothing (docs/log.md)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps, for a baseline and the images that they are fitted on."""

    baseline: Baseline
    fitting: InputSource
    plan: WorkPlan
    threads: int

    def refined(self, graph: onnx.ModelProto, *, second_order: bool = False, correct_biases: bool = False) -> onnx.ModelProto:
        """The graph with weights rounded again or with corrected biases, one layer after the other.

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
        """The graph with all scales, zero points, biases and weights tuned together.

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
        """The worst sources of noise, with their ranges; none if there are too few images or no gradients."""
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
