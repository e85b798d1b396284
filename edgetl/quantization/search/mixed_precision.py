"""int8 within a budget: where all layers in int8 cost too much, the fewest that stay in float."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import onnx

from edgetl.core.progress import say
from edgetl.quantization.candidates.qdq import as_qdq
from edgetl.quantization.graph.quant_params import quant_params, with_quant_params
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.observe.effort import Clock
from edgetl.quantization.observe.ranges import Range
from edgetl.quantization.search.evaluator import CandidateEvaluator, time_shares
from edgetl.quantization.search.search import MOST_EVALUATIONS, Evaluation, fewest, order, remembered, with_neighbours
from edgetl.runtime.session import InputSource

Chooser: TypeAlias = Literal["evaluation", "calibration"]  # images


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The graph that was decided on.

    Attributes:
        graph: of what was asked for, all in int8 or mixed.
        floating: layers that it leaves in float.
        evaluations: all that were made, in order.
        within: whether the budget is kept; None where there was none.
    """

    graph: onnx.ModelProto
    floating: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    within: bool | None = None


def within_budget(
    prepared: onnx.ModelProto,
    in_float: Collection[str],
    int8: onnx.ModelProto,
    ranges: Mapping[str, Range],
    noise: Sequence[NoiseSource],
    judge: CandidateEvaluator,
    memory: Path | None,
    clock: Clock | None = None,
) -> Searched:
    """`int8` where it keeps the budget, else the mixed graph that does; `int8` again where none does.

    A mixed graph that is neither smaller nor faster than the float model is none.

    Args:
        prepared: the float graph.
        in_float: its nodes that are in float in any case.
        int8: all of it in int8; its numbers are those of the mixed graphs.
        ranges: of activations, for what has no number there.
        noise: of each rounding.
        judge: says what a graph is worth.
        memory: JSON file of evaluations.
        clock: when the time is up; as many evaluations are made as are likely to fit.
    """
    made: list[Evaluation] = []
    remember = remembered(judge, memory)

    def judged(graph: onnx.ModelProto, floating: tuple[str, ...]) -> Evaluation:
        made.append(remember(graph, floating))
        return made[-1]

    begin = time.perf_counter()
    first = judged(int8, ())
    if first.good(judge.budget):
        return Searched(graph=int8, evaluations=tuple(made), within=first.small(judge.budget))
    ranked = tuple(name for name in order(prepared, noise, time_shares(prepared)) if name not in in_float)
    numbers = quant_params(int8)
    took = time.perf_counter() - begin
    most = max(0, int(min(MOST_EVALUATIONS, (clock or Clock()).left / max(took, 1e-6))))
    count = min(most, math.ceil(math.log2(max(2, len(ranked)))))
    say(
        f"quantize: int8 is over its budget; searches the fewest of {len(ranked)} layers that must stay in float "
        f"(at most {count} evaluations, {count * took:.0f} s)"
    )

    def make(floating: Sequence[str]) -> onnx.ModelProto:
        return with_quant_params(as_qdq(prepared, ranges, floating=with_neighbours(prepared, [*in_float, *floating])), numbers)

    found = fewest(ranked, make, judged, judge.budget, most)
    if found is None or (found[1].size_bytes >= judge.float_bytes and found[1].ms >= found[1].float_ms):
        say("quantize: no mix of int8 and float layers is within the budget and smaller or faster than float")
        return Searched(graph=int8, evaluations=tuple(made), within=False)
    return Searched(graph=found[0], floating=found[1].floating, evaluations=tuple(made), within=True)


def chosen_by(searched: Searched, evaluation: InputSource | None) -> Chooser | None:
    """Which images chose the layers in float, and so flatter the result; None without a search. It reports evaluation images that chose."""
    if len(searched.evaluations) < 2:
        return None
    if evaluation is None:
        return "calibration"
    say("quantize: the evaluation images selected which layers stay in float, so their scores are not held out")
    return "evaluation"
