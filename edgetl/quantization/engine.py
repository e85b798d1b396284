"""The order of the steps: prepare, observe, candidates, learn, search, lay out, write, report.

Several methods are tried, the cheapest first. Each is judged under onnxruntime on calibration images that nothing was fitted
on, and kept only if it helps. The reported figures come from a third part of the images, which chose nothing (docs/adr/0027).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgetl.core.machine import return_freed_memory
from edgetl.core.progress import detail, say
from edgetl.metrics.clusters import Groups
from edgetl.quantization.candidates.baseline import MARGIN_DB, Baseline
from edgetl.quantization.candidates.plan import WorkPlan, plan_work
from edgetl.quantization.candidates.trials import Trials, answers
from edgetl.quantization.candidates.unsaturated import tell_if_saturated
from edgetl.quantization.graph.network_names import NetworkNames
from edgetl.quantization.layout.file_form import FileForm
from edgetl.quantization.learn.steps import Steps
from edgetl.quantization.observe.effort import Clock
from edgetl.quantization.observe.evidence import ADVICE, Shown, Watched, problems_of, refuse_nothing
from edgetl.quantization.observe.split_for_judging import CalibrationParts, PartSizes, groups_of_subset, subset
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.record import QuantizationRecord
from edgetl.quantization.search.evaluator import CandidateEvaluator
from edgetl.quantization.search.mixed_precision import Searched, chosen_by, within_budget
from edgetl.quantization.search.reported import reported
from edgetl.quantization.search.search import Budget
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import check_model, save
from edgetl.runtime.session import InputSource
from edgetl.settings import Target


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
    alike: Groups | None = None,
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
        alike: the same among `calibration`.
        memory: JSON file of what the search found out, to go on from.
        time_limit: seconds; the best found by then is written. None: as much as `effort` counts.
        keep_names: whether nodes and values keep their long names in the file; it answers the same, bit for bit.

    Raises:
        InputError: a model that cannot be used or is quantized already, or images that do not fit it.
    """
    form, clock = FileForm.of(model, calibration, target, keep_names=keep_names), Clock(seconds=time_limit)
    tell_if_saturated(target)
    prepared = prepare_graph(model)
    plan = plan_work(prepared, calibration, threads, clock, tune_images, after=_answers_after(calibration, evaluation))
    observed = _observe(prepared, calibration, alike, target, plan, batch_size, threads)
    del prepared  # the baseline has a graph of its own: with large weights, one of them is much
    baseline, trials = observed.baseline, Trials(observed.baseline.model, observed.parts.choosing, threads)
    warnings = _warn(observed, calibration, trials, threads)
    _try_candidates(trials, baseline)
    steps = Steps(baseline=baseline, fitting=observed.parts.fitting, plan=plan, threads=threads)
    _learn(trials, steps, tune_images)
    noise, searched = steps.noise(trials), Searched(graph=trials.best)
    if budget is not None:
        judging = observed.parts.for_search if evaluation is None else evaluation
        judge = CandidateEvaluator(model, judging, budget, form.written, threads, groups)
        searched = within_budget(baseline.model, baseline.in_float, trials.best, baseline.min_max_ranges, noise, judge, memory, clock)
    network, names = _write(form, searched, model, baseline.model, out)
    by = chosen_by(searched, evaluation)
    found = reported(model, out, observed.parts, searched=by == "calibration", activation=form.activation, threads=threads)
    say(f"quantize: {found.line()}")
    return QuantizationRecord.of(
        baseline, plan, trials, searched, noise=noise, sizes=observed.sizes, found=found, floating_by=by, warnings=warnings
    ).called(network, names)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The result of observing the calibration images.

    Attributes:
        baseline: the prepared graph and the statistics of its activations.
        parts: the images that are used, by their use.
        sizes: the number of images in each part.
        shown: statistics of the images themselves.
    """

    baseline: Baseline
    parts: CalibrationParts
    sizes: PartSizes
    shown: Shown


def _observe(
    prepared: onnx.ModelProto,
    calibration: InputSource,
    alike: Groups | None,
    target: Target,
    plan: WorkPlan,
    batch_size: int,
    threads: int,
) -> Observed:
    """See as many calibration images as the plan allows.

    Raises:
        InputError: images that show nothing, or that do not fit the graph.
    """
    used, shown = subset(calibration, plan.effort.calibration), Shown()
    watched, sizes = CalibrationParts.of(Watched(used, shown)), PartSizes.of(len(used))
    (detail if sizes.chose else say)(f"quantize: {sizes.line()}")
    why_not = None if plan.effort.equalize else plan.why_not
    baseline = Baseline.of(prepared, watched.fitting, target, batch_size=batch_size, threads=threads, not_equalized=why_not)
    refuse_nothing(shown)
    parts = CalibrationParts.of(used, groups_of_subset(used, calibration, alike))
    return Observed(baseline=baseline, parts=parts, sizes=sizes, shown=shown)  # all was watched once


def _warn(observed: Observed, calibration: InputSource, trials: Trials, threads: int) -> tuple[str, ...]:
    """Report why agreement on these images is no evidence; empty if it is."""
    known = [] if trials.wanted is None else [trials.wanted]
    reporting = answers(observed.baseline.model, observed.parts.reporting, threads)
    warnings = problems_of(observed.shown, calibration, np.concatenate([*known, reporting]))
    for problem in warnings:
        say(f"quantize: warning: {problem}. {ADVICE}")
    return warnings


def _try_candidates(trials: Trials, baseline: Baseline) -> None:
    """Try the methods that need no gradients."""
    if baseline.equalizing:
        trials.note(baseline.equalizing)
    baseline.try_ranges(trials)


def _learn(trials: Trials, steps: Steps, tune_images: int | None) -> None:
    """Try the methods that need torch, the cheapest first."""
    nearest, before = trials.best, trials.best_db
    trials.run("second-order rounding", lambda: steps.refined(trials.best, second_order=True))
    trials.run("biases corrected", lambda: steps.refined(trials.best, correct_biases=True))
    if tune_images != 0:
        tune_from = trials.best if trials.best_db >= before + MARGIN_DB else nearest
        trials.run("tuned together", lambda: steps.tuned(tune_from, tune_images, trials.best_db))


def _write(form: FileForm, searched: Searched, given: Path, quantized: onnx.ModelProto, out: Path) -> tuple[NetworkNames, dict[str, str]]:
    """Check and write the model; return the network's own names, and the names in the file."""
    return_freed_memory()  # of torch's steps, before the graph is laid out and run once more
    network = NetworkNames.of(load_proto(given), quantized)
    if searched.floating:
        say(f"quantize: these layers stay in float: {', '.join(map(network, searched.floating))}")
    written, names = form.named(searched.graph, searched.floating, network)
    check_model(written, out.name)
    save(written, out)
    return network, names


def _answers_after(calibration: InputSource, evaluation: InputSource | None) -> int:
    """How many images both models answer after quantization."""
    if evaluation is None:
        return 2 * len(calibration)  # those that choose and those that report are among them
    return 2 * (len(evaluation) + PartSizes.of(len(calibration)).reported)
