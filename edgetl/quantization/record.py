"""The record of a quantization, for decisions.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from edgetl.core.progress import detail, say
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.plan import WorkPlan
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.candidates.trials import Trial, Trials
from edgetl.quantization.graph.passes import run
from edgetl.quantization.layout.lay_out import FOR_PIXELS
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.observe.effort import Effort
from edgetl.quantization.observe.ranges import ChosenRange
from edgetl.quantization.observe.split_for_judging import PartSizes
from edgetl.quantization.precision.placement import BUDGET, InFloat, operator_placement, placement_line
from edgetl.quantization.search.mixed_precision import Chooser, Searched
from edgetl.quantization.search.reported import Reported
from edgetl.quantization.search.search import Evaluation
from edgetl.settings import Target

V = TypeVar("V")
LISTED_SOURCES = 20  # of noise, in the log


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """What was done, for the decision log; plain values, so that it goes into JSON as it is.

    Attributes:
        target: the CPU it was made for.
        ends: the first and last layers that stay in float on this CPU in any case.
        limited: weights of which some pairs had to be limited, so that nothing saturates, and how many pairs.
        images: calibration images.
        ranges: tensor of the prepared float graph -> the bounds that reconstruct it best; `trials` say whether they were used.
        trials: what was tried, in order; the last one kept is the result, all in int8.
        noise: where what noise is left comes from, the worst first; empty where neither biases nor all together were tried.
        effort: how much work was allowed, and what was shortened or left out for it.
        time_limit: seconds that it had; None: counted work decided. With one, another machine, or the next run, may give other bytes.
        evaluations: what the search for layers to leave in float looked at; empty where there was no budget.
        floating: layers that were left in float.
        within: whether the result keeps the budget, by the images that judge it; None where there was none.
        int8: operator type -> how many run in int8.
        in_float: those that stay in float, and why.
        reported: how the result answers on images that chose nothing, or that it is not so.
        parts: how many calibration images fitted, chose and reported.
        floating_by: which images chose the layers that stay in float: what they show of the result is too good; None where none chose.
        warnings: why agreement on the calibration images is no evidence; empty where it is.
        names: name of a node or value in the file -> what the network itself calls it. All other names here are the network's own.
    """

    target: Target
    ends: tuple[str, ...]
    limited: Mapping[str, int]
    images: int
    ranges: Mapping[str, ChosenRange]
    trials: tuple[Trial, ...]
    noise: tuple[NoiseSource, ...]
    effort: Effort
    time_limit: float | None
    evaluations: tuple[Evaluation, ...]
    floating: tuple[str, ...]
    within: bool | None
    int8: Mapping[str, int]
    in_float: tuple[InFloat, ...]
    reported: Reported
    parts: PartSizes
    floating_by: Chooser | None = None
    warnings: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def called(self, own: Callable[[str], str], names: Mapping[str, str]) -> QuantizationRecord:
        """The same, with the network's own names of layers and values; `names` are those of what is in the file."""
        return replace(
            self,
            ends=tuple(map(own, self.ends)),
            limited=_by_own_names(self.limited, own),
            ranges=_by_own_names(self.ranges, own),
            noise=tuple(replace(source, name=own(source.name)) for source in self.noise),
            evaluations=tuple(replace(evaluation, floating=tuple(map(own, evaluation.floating))) for evaluation in self.evaluations),
            floating=tuple(map(own, self.floating)),
            names=names,
        )

    @staticmethod
    def of(
        baseline: Baseline,
        plan: WorkPlan,
        trials: Trials,
        searched: Searched,
        *,
        noise: tuple[NoiseSource, ...],
        sizes: PartSizes,
        found: Reported,
        floating_by: Chooser | None,
        warnings: tuple[str, ...],
    ) -> QuantizationRecord:
        """What was done; what runs in float is said."""
        why = {**dict.fromkeys(searched.floating, BUDGET), **baseline.in_float}
        int8, in_float = operator_placement(run(FOR_PIXELS, searched.graph), why)
        if in_float:
            say(f"quantize: {sum(int8.values())} operators run in int8, {sum(each.count for each in in_float)} in float")
            detail(f"quantize: in float: {placement_line(in_float)}")
        return QuantizationRecord(
            target=baseline.target,
            ends=baseline.boundary,
            limited=saturating(baseline.min_max_qdq) if baseline.pairs else {},
            images=sizes.images,
            ranges=baseline.chosen,
            trials=tuple(trials.log),
            noise=noise[:LISTED_SOURCES],
            effort=plan.effort,
            time_limit=plan.clock.seconds,
            evaluations=searched.evaluations,
            floating=searched.floating,
            within=searched.within,
            int8=int8,
            in_float=in_float,
            reported=found,
            parts=sizes,
            floating_by=floating_by,
            warnings=warnings,
        )


def _by_own_names(values: Mapping[str, V], own: Callable[[str], str]) -> dict[str, V]:
    """`values` by own names; where two have the same, the later ones say which they are."""
    found: dict[str, V] = {}
    for name, value in values.items():
        found[f"{own(name)} [{name}]" if own(name) in found else own(name)] = value
    return found
