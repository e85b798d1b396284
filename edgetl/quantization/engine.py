"""The int8 engine: a float ONNX classifier and calibration images in, an int8 ONNX classifier out.

Several ways are tried, from simple to dear, and each is judged under onnxruntime on calibration images that it was not
fitted on: what does not help is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.progress import say
from edgetl.metrics.parity import agreement, sqnr_db
from edgetl.quantization.compact import compact
from edgetl.quantization.heldout import parts
from edgetl.quantization.layers import UnknownOperator
from edgetl.quantization.noise import Source
from edgetl.quantization.observers import Seen, observe, tensors_beside
from edgetl.quantization.prepare import prepare, with_opsets_used
from edgetl.quantization.qdq import INT8_OPS, on_codes, with_float_outputs, with_shared_concats, write_qdq
from edgetl.quantization.ranges import Choice, Range, choose, extremes, percentile, useful
from edgetl.quantization.saturation import Pairs, pairs_of, saturating
from edgetl.quantization.targets import saturates
from edgetl.quantization.weights import with_fitted_weights
from edgetl.runtime.onnx_metadata import check_model, clean, describe, read_info, save
from edgetl.runtime.session import InputSource, open_graph, open_session
from edgetl.settings import Target

TARGET = "edgetl.target"
AT_ONCE = 16  # images that judge


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way to int8, and how it answers on the calibration images that judge.

    Attributes:
        name: of the way.
        sqnr_db: of the logits against the float model's; None where they are equal.
        agreement: share of images with the same answer.
        kept: whether it is the best so far.
        why_not: why it could not be tried.
    """

    name: str
    sqnr_db: float | None = None
    agreement: float | None = None
    kept: bool = False
    why_not: str | None = None

    def line(self) -> str:
        """For people."""
        if self.why_not:
            return f"{self.name}: not tried, {self.why_not}"
        noise = "no noise" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"
        return f"{self.name}: {noise}, same answer to {self.agreement:.1%}" + ("" if self.kept else "; not kept")


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """What was done, for the decision log; plain values, so that it goes into JSON as it is.

    Attributes:
        target: the CPU it was made for.
        limited: weights of which some pairs had to be limited, so that nothing saturates, and how many pairs.
        images: calibration images.
        ranges: tensor of the prepared float graph -> the bounds that reconstruct it best; `trials` say whether they were used.
        trials: what was tried, in order; the last one kept is the result.
        noise: where what noise is left comes from, the worst first; empty where nothing was tuned.
        int8: operator type -> how many run in int8.
        floating: operator type -> how many stay in float.
    """

    target: Target
    limited: Mapping[str, int]
    images: int
    ranges: Mapping[str, Choice]
    trials: tuple[Trial, ...]
    noise: tuple[Source, ...]
    int8: Mapping[str, int]
    floating: Mapping[str, int]


def quantize(
    model: Path,
    calibration: InputSource,
    *,
    target: Target = "portable",
    batch_size: int = 32,
    out: Path,
    threads: int = 1,
    tune_images: int | None = None,
) -> QuantizationRecord:
    """Write the int8 form of the float classifier `model` to `out`; the same inputs and threads give the same bytes.

    Args:
        model: float ONNX; its labels, Preprocess and other metadata are kept.
        calibration: images that set the activation ranges.
        target: CPU it is for.
        batch_size: calibration images read at once; no part of the result.
        out: the file to write.
        threads: of onnxruntime, and of torch in the last step.
        tune_images: images that the last step looks at; None: by the size of the input, 0: no such step.

    Raises:
        InputError: a model that cannot be used or is quantized already, or images that do not fit it.
    """
    open_session(model)  # refuses what is no classifier
    info = read_info(model)
    prepared = prepare(model)
    seen = observe(prepared, tensors_beside(prepared, INT8_OPS), calibration, batch_size=batch_size, threads=threads)
    used = useful(prepared)
    chosen = {name: choose(found, used.get(name)) for name, found in seen.items()}
    fitting, judging = parts(calibration)
    trials = _Trials(prepared, judging, threads)

    def unlimited(ranges: Mapping[str, Range]) -> onnx.ModelProto:
        return with_shared_concats(with_float_outputs(write_qdq(prepared, ranges)), prepared)

    reconstructing = unlimited({name: found.range for name, found in chosen.items()})
    pairs = pairs_of(reconstructing) if saturates(target) else {}

    widest = {name: extremes(found, used.get(name)) for name, found in seen.items()}
    trials.run("extremes as ranges", lambda: with_fitted_weights(unlimited(widest), prepared, pairs))
    trials.run("ranges by reconstruction", lambda: with_fitted_weights(reconstructing, prepared, pairs))
    if tune_images != 0:
        trials.run("tuned together", lambda: _tuned(prepared, trials.best, fitting, pairs, threads, tune_images))
    untuned = tune_images == 0 or trials.log[-1].why_not is not None  # then torch, which this needs too, stays out
    noise = () if untuned else _noise(prepared, trials.best, judging, pairs, threads, seen)
    described = describe(compact(with_opsets_used(clean(trials.best))), replace(info, extra={**info.extra, TARGET: target}))
    check_model(described, out.name)
    save(described, out)
    int8, floating = counts(described)
    return QuantizationRecord(
        target=target,
        limited=saturating(reconstructing) if saturates(target) else {},
        images=len(calibration),
        ranges=chosen,
        trials=tuple(trials.log),
        noise=noise,
        int8=int8,
        floating=floating,
    )


class _Trials:
    """Keeps the best graph so far, by the noise of its logits."""

    def __init__(self, prepared: onnx.ModelProto, judging: InputSource, threads: int) -> None:
        self.judging, self.threads = judging, threads
        self.log: list[Trial] = []
        self.wanted = self._answers(prepared)
        self.best = prepared
        self._best_db = -np.inf

    def run(self, name: str, make: Callable[[], onnx.ModelProto]) -> None:
        """Make a graph and judge it; one that cannot be made is logged."""
        try:
            made = make()
        except NotTunable as error:
            self._say(Trial(name=name, why_not=str(error)))
            return
        answers = self._answers(made)
        decibels = sqnr_db(self.wanted, answers)
        kept = decibels > self._best_db
        same = agreement(self.wanted.argmax(1), answers.argmax(1))
        self._say(Trial(name=name, sqnr_db=decibels if np.isfinite(decibels) else None, agreement=same, kept=kept))
        if kept:
            self.best, self._best_db = made, decibels

    def _say(self, trial: Trial) -> None:
        self.log.append(trial)
        say(f"quantize: {trial.line()}")

    def _answers(self, model: onnx.ModelProto) -> NDArray[np.float32]:
        session = open_graph(model, threads=self.threads)
        return np.concatenate([session.run(batch.x) for batch in self.judging.batches(AT_ONCE)])


LISTED, SAID = 20, 3  # sources of noise in the log, and on the screen
FEWEST = 32  # calibration images that are worth being tuned on


class NotTunable(Exception):
    """Why a step that needs gradients cannot be taken."""


T = TypeVar("T")


def _in_torch(step: Callable[[], T]) -> T:
    """What `step` gives, which imports torch itself: nothing else here needs it."""
    try:
        return step()
    except ImportError as error:
        raise NotTunable(f"torch is not installed ({error})") from error
    except UnknownOperator as error:
        raise NotTunable(f"no gradient of the operator {error} here") from error


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

    return _in_torch(step)


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

    found = attribute(prepared, written, source, pairs=pairs, threads=threads)[:LISTED]
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
