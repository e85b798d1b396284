"""The int8 engine: a float ONNX classifier and calibration images in, an int8 ONNX classifier out.

Several ways are tried, from simple to dear, and each is judged under onnxruntime on calibration images that it was not
fitted on: what does not help is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgetl.core.progress import say
from edgetl.quantization.compact import compact
from edgetl.quantization.heldout import parts
from edgetl.quantization.judging import Judging
from edgetl.quantization.mixed import Searched, within_budget
from edgetl.quantization.noise import Source
from edgetl.quantization.observers import Seen, observe, tensors_beside
from edgetl.quantization.prepare import prepare, with_opsets_used
from edgetl.quantization.qdq import INT8_OPS, as_qdq, on_codes
from edgetl.quantization.ranges import Choice, Range, choose, extremes, percentile, useful
from edgetl.quantization.saturation import Pairs, pairs_of, saturating
from edgetl.quantization.search import Budget, Evaluation
from edgetl.quantization.targets import saturates
from edgetl.quantization.trials import NotTunable, Trial, Trials, in_torch
from edgetl.quantization.weights import with_fitted_weights
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, check_model, clean, describe, read_info, save
from edgetl.runtime.session import InputSource, open_session
from edgetl.settings import Target


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """What was done, for the decision log; plain values, so that it goes into JSON as it is.

    Attributes:
        target: the CPU it was made for.
        limited: weights of which some pairs had to be limited, so that nothing saturates, and how many pairs.
        images: calibration images.
        ranges: tensor of the prepared float graph -> the bounds that reconstruct it best; `trials` say whether they were used.
        trials: what was tried, in order; the last one kept is the result, all in int8.
        noise: where what noise is left comes from, the worst first; empty where nothing was tuned.
        evaluations: what the search for layers to leave in float looked at; empty where there was no budget.
        floating: layers that were left in float.
        within: whether the result keeps the budget; None where there was none.
        int8: operator type -> how many run in int8.
        in_float: operator type -> how many stay in float.
    """

    target: Target
    limited: Mapping[str, int]
    images: int
    ranges: Mapping[str, Choice]
    trials: tuple[Trial, ...]
    noise: tuple[Source, ...]
    evaluations: tuple[Evaluation, ...]
    floating: tuple[str, ...]
    within: bool | None
    int8: Mapping[str, int]
    in_float: Mapping[str, int]


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
    memory: Path | None = None,
) -> QuantizationRecord:
    """Write the int8 form of the float classifier `model` to `out`; the same inputs and threads give the same bytes.

    Where latency decides (a search, see `budget`), the same bytes come from the same `memory`.

    Args:
        model: float ONNX; its labels, Preprocess and other metadata are kept.
        calibration: images that set the activation ranges.
        target: CPU it is for.
        batch_size: calibration images read at once; no part of the result.
        out: the file to write.
        threads: of onnxruntime, and of torch in the last step.
        tune_images: images that the last step looks at; None: by the size of the input, 0: no such step.
        budget: where int8 costs more, layers are left in float. None: none are.
        evaluation: images that judge the budget; None: calibration images that nothing was fitted on.
        memory: JSON file of what the search found out, to go on from.

    Raises:
        InputError: a model that cannot be used or is quantized already, or images that do not fit it.
    """
    open_session(model)  # refuses what is no classifier
    info = read_info(model)
    prepared = prepare(model)
    seen = observe(prepared, tensors_beside(prepared, INT8_OPS), calibration, batch_size=batch_size, threads=threads)
    ranges = _Ranges.of(seen, prepared)
    fitting, judging = parts(calibration)
    unlimited = as_qdq(prepared, ranges.widest)
    pairs = pairs_of(unlimited) if saturates(target) else {}
    trials = Trials(prepared, judging, threads)
    trials.run("extremes as ranges", lambda: with_fitted_weights(unlimited, prepared, pairs))
    trials.run("ranges by reconstruction", lambda: with_fitted_weights(as_qdq(prepared, ranges.reconstructing), prepared, pairs))
    noise: tuple[Source, ...] = ()
    if tune_images != 0 and trials.run("tuned together", lambda: _tuned(prepared, trials.best, fitting, pairs, threads, tune_images)):
        noise = _noise(prepared, trials.best, judging, pairs, threads, seen)

    def finish(graph: onnx.ModelProto, floating: tuple[str, ...] = ()) -> onnx.ModelProto:
        extra = {**info.extra, TARGET: target, **({FORM: MIXED} if floating else {})}
        return describe(compact(with_opsets_used(clean(graph))), replace(info, extra=extra))

    searched = Searched(graph=trials.best)
    if budget is not None:
        judge = Judging(model, judging if evaluation is None else evaluation, budget, finish, threads)
        searched = within_budget(prepared, trials.best, ranges.widest, noise, judge, memory)
    written = finish(searched.graph, searched.floating)
    check_model(written, out.name)
    save(written, out)
    int8, in_float = counts(written)
    return QuantizationRecord(
        target=target,
        limited=saturating(unlimited) if pairs else {},
        images=len(calibration),
        ranges=ranges.chosen,
        trials=tuple(trials.log),
        noise=noise[:LISTED],
        evaluations=searched.evaluations,
        floating=searched.floating,
        within=searched.within,
        int8=int8,
        in_float=in_float,
    )


@dataclass(frozen=True, kw_only=True)
class _Ranges:
    """Two ranges of every activation: what was seen, and what reconstructs it best."""

    widest: Mapping[str, Range]
    chosen: Mapping[str, Choice]

    @staticmethod
    def of(seen: Mapping[str, Seen], model: onnx.ModelProto) -> _Ranges:
        used = useful(model)
        return _Ranges(
            widest={name: extremes(found, used.get(name)) for name, found in seen.items()},
            chosen={name: choose(found, used.get(name)) for name, found in seen.items()},
        )

    @property
    def reconstructing(self) -> dict[str, Range]:
        return {name: found.range for name, found in self.chosen.items()}


LISTED, SAID = 20, 3  # sources of noise in the log, and on the screen
FEWEST = 32  # calibration images that are worth being tuned on


def _tuned(
    prepared: onnx.ModelProto,
    start_from: onnx.ModelProto,
    source: InputSource,
    pairs: Mapping[str, Pairs],
    threads: int,
    images: int | None,
) -> onnx.ModelProto:
    if images is None and len(source) < FEWEST:
        raise NotTunable(f"fewer than {FEWEST} calibration images to tune on")

    def step() -> onnx.ModelProto:
        from edgetl.quantization.tune import tune

        return tune(prepared, start_from, source, pairs=pairs, images=images, threads=threads)

    return in_torch(step)


def _noise(
    prepared: onnx.ModelProto,
    written: onnx.ModelProto,
    source: InputSource,
    pairs: Mapping[str, Pairs],
    threads: int,
    seen: Mapping[str, Seen],
) -> tuple[Source, ...]:
    """The worst sources of noise, with what was seen of them."""
    from edgetl.quantization.attribution import attribute

    found = attribute(prepared, written, source, pairs=pairs, threads=threads)
    described = tuple(
        replace(source, low=seen[source.name].low, high=seen[source.name].high, usual=percentile(seen[source.name], 99.8).high)
        if source.name in seen
        else source
        for source in found
    )
    for source_of in described[:SAID]:
        say(f"quantize: {source_of.line()}")
    return described


def counts(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    """Operators of a QDQ graph by type: those that onnxruntime can run on int8 codes, and those in float."""
    places = on_codes(model)
    int8, floating = (Counter(model.graph.node[i].op_type for i, codes in places.items() if codes is wanted) for wanted in (True, False))
    return dict(sorted(int8.items())), dict(sorted(floating.items()))
