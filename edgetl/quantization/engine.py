"""The int8 engine: a float ONNX classifier and calibration images in, an int8 ONNX classifier out.

Several ways are tried, from simple to dear, and each is judged under onnxruntime on calibration images that nothing was
fitted on: what does not help is not kept. What is reported comes from a third part, which chose nothing (docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import onnx

from edgetl.core.progress import say
from edgetl.metrics.clusters import Groups
from edgetl.quantization.candidates.baseline import MARGIN, Baseline
from edgetl.quantization.candidates.pixel_codes import folded
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.candidates.trials import Trial, Trials, answers
from edgetl.quantization.candidates.unsaturated import tell_if_saturated
from edgetl.quantization.graph.names import with_public_names
from edgetl.quantization.graph.own_names import OwnNames
from edgetl.quantization.layout.channels_last_adds import with_sums_channels_last
from edgetl.quantization.layout.compact import compact
from edgetl.quantization.layout.exact_adds import with_exact_sums
from edgetl.quantization.layout.padded_codes import with_padded_codes
from edgetl.quantization.layout.short_names import with_short_names
from edgetl.quantization.layout.space_to_depth import with_space_to_depth
from edgetl.quantization.layout.strided_shortcut import with_strided_convs
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.learn.steps import Plan, Steps, planned
from edgetl.quantization.observe.effort import Clock, Effort
from edgetl.quantization.observe.evidence import ADVICE, Shown, Watched, problems_of, refuse_nothing
from edgetl.quantization.observe.ranges import Choice
from edgetl.quantization.observe.split_for_judging import Parts, Sizes, some
from edgetl.quantization.precision.placement import BUDGET, InFloat, line, placed
from edgetl.quantization.prepare.prepare import prepare, with_opsets_used
from edgetl.quantization.search.evaluator import CandidateEvaluator
from edgetl.quantization.search.mixed_precision import Searched, within_budget
from edgetl.quantization.search.reported import Reported, reported
from edgetl.quantization.search.search import Budget, Evaluation
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, ModelInfo, check_model, clean, describe, read_info, save
from edgetl.runtime.outputs import ACTIVATION
from edgetl.runtime.session import InputSource, open_session
from edgetl.settings import Target
from edgetl.tasks.meaning import Activation

LISTED = 20  # sources of noise in the log
Chooser = Literal["evaluation", "calibration"]  # images


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
    ranges: Mapping[str, Choice]
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
    parts: Sizes
    floating_by: Chooser | None = None
    warnings: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def called(self, own: Callable[[str], str]) -> QuantizationRecord:
        """The same, with the network's own names of layers and values."""
        return replace(
            self,
            ends=tuple(map(own, self.ends)),
            limited=_by_own_names(self.limited, own),
            ranges=_by_own_names(self.ranges, own),
            noise=tuple(replace(source, name=own(source.name)) for source in self.noise),
            evaluations=tuple(replace(evaluation, floating=tuple(map(own, evaluation.floating))) for evaluation in self.evaluations),
            floating=tuple(map(own, self.floating)),
        )


V = TypeVar("V")


def _by_own_names(values: Mapping[str, V], own: Callable[[str], str]) -> dict[str, V]:
    """`values` by own names; where two have the same, the later ones say which they are."""
    found: dict[str, V] = {}
    for name, value in values.items():
        found[f"{own(name)} [{name}]" if own(name) in found else own(name)] = value
    return found


def quantize(
    model: Path,
    calibration: InputSource,
    *,
    target: Target = "portable",
    batch_size: int = 32,
    out: Path,
    threads: int = 1,
    tune_images: int | None = None,
    budget: Budget | None = None,
    evaluation: InputSource | None = None,
    groups: Groups | None = None,
    memory: Path | None = None,
    time_limit: float | None = None,
    keep_names: bool = False,
) -> QuantizationRecord:
    """Write the int8 form of the float classifier `model` to `out`; the same inputs and threads give the same bytes.

    Where latency decides (a search, see `budget`), the same bytes come from the same `memory`; with a `time_limit` no two runs
    need to give the same.

    Args:
        model: float ONNX; its labels, Preprocess and other metadata are kept.
        calibration: images that set the activation ranges.
        target: CPU it is for.
        batch_size: calibration images read at once; no part of the result.
        out: the file to write.
        threads: of onnxruntime, and of torch in the last step.
        tune_images: images that the last step looks at; None: by the size of the input, 0: no such step.
        budget: where int8 costs more, layers are left in float. None: none are.
        evaluation: images that judge the budget; None: the calibration images that choose.
        groups: of near-duplicates among `evaluation`, int64 [n]; None: none look alike.
        memory: JSON file of what the search found out, to go on from.
        time_limit: seconds; the best found by then is written. None: as much as `effort` counts.
        keep_names: whether nodes and values keep their long names in the file; it answers the same, bit for bit.

    Raises:
        InputError: a model that cannot be used or is quantized already, or images that do not fit it.
    """
    inputs, outputs, activation = _ends_of(model, calibration)
    info = read_info(model)
    tell_if_saturated(target)
    clock, shown, prepared = Clock(seconds=time_limit), Shown(), prepare(model)
    after = 2 * (len(calibration) if evaluation is None else len(evaluation) + Sizes.of(len(calibration)).reported)
    plan = planned(prepared, calibration, threads, clock, tune_images, after=after)
    given, calibration = calibration, some(calibration, plan.effort.calibration)
    parts, sizes = Parts.of(Watched(calibration, shown)), Sizes.of(len(calibration))
    say(f"quantize: {sizes.line()}")
    start = Baseline.of(
        prepared,
        parts.fitting,
        target,
        batch_size=batch_size,
        threads=threads,
        not_equalized=None if plan.effort.equalize else plan.why_not,
    )
    del prepared  # `start` has a graph of its own: with large weights, one of them is much
    refuse_nothing(shown)
    parts = Parts.of(calibration)  # all was watched once
    trials = Trials(start.model, parts.choosing, threads)
    known = [] if trials.wanted is None else [trials.wanted]
    warnings = problems_of(shown, given, np.concatenate([*known, answers(start.model, parts.reporting, threads)]))
    for problem in warnings:
        say(f"quantize: warning: {problem}. {ADVICE}")
    step = Steps(start=start, fitting=parts.fitting, plan=plan, threads=threads)
    _try_all(trials, start, step, tune_images)
    noise = step.noise(trials)

    ends = {} if activation in (None, "linear") else {ACTIVATION: activation}
    described = replace(info, extra={**info.extra, TARGET: target, **ends})
    finish = partial(_finished, info=described, target=target, inputs=inputs, outputs=outputs)
    searched = Searched(graph=trials.best)
    if budget is not None:
        own = parts.reporting if parts.choosing is None else parts.choosing
        judge = CandidateEvaluator(
            model,
            own if evaluation is None else evaluation,
            budget,
            partial(finish, keep_names=keep_names),
            threads,
            groups,
        )
        searched = within_budget(start.model, start.in_float, trials.best, start.min_max_ranges, noise, judge, memory, clock)
    long = finish(searched.graph, searched.floating, keep_names=True)
    written, called = long if keep_names else with_short_names(long), OwnNames.of(load_proto(model), start.model)
    names = called.in_file(long, written)
    check_model(written, out.name)
    save(written, out)
    used_up = (floating_by := _chosen_by(searched, evaluation)) == "calibration" and parts.choosing is None
    found = reported(model, out, parts, searched=used_up, activation=activation, threads=threads)
    say(f"quantize: {found.line()}")
    record = _recorded(start, plan, trials, searched, noise=noise, sizes=sizes, found=found)
    return replace(record, floating_by=floating_by, warnings=warnings, names=names).called(called)


def _chosen_by(searched: Searched, evaluation: InputSource | None) -> Chooser | None:
    """Which images chose the layers in float, and so show too much of the result; None where no search was needed. It is said."""
    if len(searched.evaluations) < 2:
        return None
    if evaluation is None:
        return "calibration"
    say("quantize: the evaluation images chose among mixtures of int8 and float, so what they show of the result is not held out")
    return "evaluation"


def _recorded(
    start: Baseline,
    plan: Plan,
    trials: Trials,
    searched: Searched,
    *,
    noise: tuple[NoiseSource, ...],
    sizes: Sizes,
    found: Reported,
) -> QuantizationRecord:
    """What was done; what runs in float is said."""
    int8, in_float = placed(folded(searched.graph), {**dict.fromkeys(searched.floating, BUDGET), **start.in_float})
    if in_float:
        say(f"quantize: in float run {line(in_float)}")
    return QuantizationRecord(
        target=start.target,
        ends=start.ends,
        limited=saturating(start.min_max_qdq) if start.pairs else {},
        images=sizes.images,
        ranges=start.chosen,
        trials=tuple(trials.log),
        noise=noise[:LISTED],
        effort=plan.effort,
        time_limit=plan.clock.seconds,
        evaluations=searched.evaluations,
        floating=searched.floating,
        within=searched.within,
        int8=int8,
        in_float=in_float,
        reported=found,
        parts=sizes,
    )


def _ends_of(model: Path, calibration: InputSource) -> tuple[list[str], list[str], Activation | None]:
    """The names of its inputs and outputs, and what ends the graph.

    Raises:
        InputError: no classifier, or a first image that does not fit it.
    """
    session = open_session(model)
    for first in islice(calibration.batches(1), 1):
        next(session.input.feeds(first.x))
    inputs, outputs = session.engine.get_inputs(), session.engine.get_outputs()
    return [value.name for value in inputs], [value.name for value in outputs], session.activation


def _finished(
    graph: onnx.ModelProto,
    floating: tuple[str, ...] = (),
    *,
    info: ModelInfo,
    target: Target,
    inputs: Sequence[str],
    outputs: Sequence[str],
    keep_names: bool = False,
) -> onnx.ModelProto:
    """What is written of a QDQ graph that leaves the layers `floating` in float."""
    extra = {**info.extra, **({FORM: MIXED} if floating else {})}
    graph = with_exact_sums(graph) if target == "portable" else graph
    public = with_public_names(clean(_for_kernels(graph, target)), inputs, outputs)
    small = compact(with_opsets_used(public))
    return describe(small if keep_names else with_short_names(small), replace(info, extra=extra))


def _try_all(trials: Trials, start: Baseline, step: Steps, tune_images: int | None) -> None:
    """From simple to dear."""
    if start.equalizing:
        trials.note(start.equalizing)
    start.try_ranges(trials)
    nearest, before = trials.best, trials.best_db
    trials.run("second-order rounding", lambda: step.refined(trials.best, second_order=True))
    trials.run("biases corrected", lambda: step.refined(trials.best, correct_biases=True))
    if tune_images != 0:
        tune_from = trials.best if trials.best_db >= before + MARGIN else nearest
        trials.run("tuned together", lambda: step.tuned(tune_from, tune_images, trials.best_db))


def _for_kernels(graph: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """A QDQ graph as onnxruntime's kernels run it fastest: the same answers."""
    graph = with_sums_channels_last(with_padded_codes(folded(graph)))
    graph = graph if target in ("arm64", "web") else with_strided_convs(graph)  # no faster there, as far as was measured
    return with_space_to_depth(graph) if target == "x86" else graph
