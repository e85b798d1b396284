"""Which layers stay in float, where all of them in int8 costs more than the budget allows.

One ranking (`order`: the noise that leaving a layer in float takes away, for what it costs in time and bytes), then a binary
search along it for the fewest layers: at most `MOST_EVALUATIONS`, whatever the network. Each is announced and kept, so that a killed
search goes on where it was and decides the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from edgetl.core.files import write_json
from edgetl.core.progress import say
from edgetl.metrics.choice import WhenUndecided
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import BOUNDING, WEIGHTED
from edgetl.quantization.learn.noise import NoiseSource

MOST_EVALUATIONS = 12  # of graphs, each under onnxruntime


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What int8 may cost; None: no limit.

    Attributes:
        max_drop: of the score on labelled images, a fraction, judged by the rule that says what ships (`metrics.choice`).
        min_agreement: share of images with the float model's answer.
        max_kb: of the file, in 1,000 bytes.
        max_ms: median latency of one image at one thread, in milliseconds.
        when_undecided: what ships where the images are too few to say whether a drop is over `max_drop`.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    max_kb: float | None = None
    max_ms: float | None = None
    when_undecided: WhenUndecided = "measured"

    def allows(self, size_bytes: int, ms: float) -> bool:
        """Whether a file of this size and latency is small and fast enough."""
        return size_bytes <= 1000 * (self.max_kb or math.inf) and ms <= (self.max_ms or math.inf)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A graph, judged.

    Attributes:
        floating: names of the layers in float.
        agreement: share of the judging images with the float model's answer.
        drop: of the score; None without labels.
        lost: whether float would ship instead, for the drop of the score or of a class; not where float was asked for in case of doubt:
            no layers in float take away a doubt.
        size_bytes: of the file.
        ms, float_ms: median latency of it and of the float model, in turns.
    """

    floating: tuple[str, ...]
    agreement: float
    drop: float | None
    lost: bool
    size_bytes: int
    ms: float
    float_ms: float

    def good(self, budget: Budget) -> bool:
        """Whether it answers well enough."""
        return not self.lost and self.agreement >= (budget.min_agreement or 0)

    def small(self, budget: Budget) -> bool:
        """Whether it is small and fast enough."""
        return budget.allows(self.size_bytes, self.ms)

    def line(self) -> str:
        """For people."""
        drop = "" if self.drop is None else f", drop {100 * self.drop:.2f} points"
        return (
            f"{f'{len(self.floating)} layers in float' if self.floating else 'all layers in int8'}: {self.agreement:.1%} of the answers "
            f"are those of float{drop}, {self.size_bytes / 1000:.1f} kB, {self.ms:.2f} ms (float {self.float_ms:.2f} ms)"
        )


Judge = Callable[[onnx.ModelProto, tuple[str, ...]], Evaluation]


def fewest(
    ranked: Sequence[str], make: Callable[[Sequence[str]], onnx.ModelProto], judge: Judge, budget: Budget, most: int = MOST_EVALUATIONS
) -> tuple[onnx.ModelProto, Evaluation] | None:
    """The graph with the fewest layers in float that answers well enough and is small enough; None if there is none.

    Args:
        ranked: layers, the most worthwhile to leave in float first.
        make: the graph that leaves these in float.
        judge: evaluates a graph, given its layers in float.
        budget: what is enough.
        most: evaluations at most.
    """
    found: tuple[onnx.ModelProto, Evaluation] | None = None
    low, high = 0, len(ranked)  # none: not good enough; all: the float model
    for _ in range(most):
        if high - low < 2:
            break
        middle = (low + high) // 2
        floating = tuple(ranked[:middle])
        graph = make(floating)
        evaluation = judge(graph, floating)
        if not evaluation.small(budget):
            high = middle
        elif evaluation.good(budget):
            high, found = middle, (graph, evaluation)
        else:
            low = middle
    return found


def remembered(judge: Judge, place: Path | None) -> Judge:
    """`judge`, that keeps what it finds in the JSON file `place` and does not judge the same layers twice."""
    known: dict[tuple[str, ...], Evaluation] = {}
    if place and place.is_file():
        for row in json.loads(place.read_text(encoding="utf-8")):
            evaluation = Evaluation(**{**row, "floating": tuple(row["floating"])})
            known[evaluation.floating] = evaluation

    def judged(graph: onnx.ModelProto, floating: tuple[str, ...]) -> Evaluation:
        if floating not in known:
            known[floating] = judge(graph, floating)
            if place:
                write_json(place, [asdict(evaluation) for evaluation in known.values()])
        say(f"quantize: {known[floating].line()}")
        return known[floating]

    return judged


def order(model: onnx.ModelProto, noise: Sequence[NoiseSource], shares: Mapping[str, float]) -> tuple[str, ...]:
    """The layers of a prepared float graph, the most noise for the least time and size first.

    Args:
        model: the graph.
        noise: of each rounding.
        shares: name of a layer -> its share of the float model's time.
    """
    by_name = {source.name: source.share for source in noise}
    index = GraphIndex(model)
    stored = index.constants
    weights = {node.name: [stored[name].size for name in node.input if name in stored] for node in model.graph.node}
    whole = sum(sum(sizes) for sizes in weights.values()) or 1

    def worth(node: onnx.NodeProto) -> float:
        gain = sum(by_name.get(name, 0.0) for name in dict.fromkeys((*node.input, *_behind(index, node))))
        cost = shares.get(node.name, 0.0) + sum(weights[node.name]) / whole
        return gain / (cost + 1e-3)

    layers = [node for node in model.graph.node if node.op_type in WEIGHTED]
    return tuple(node.name for node in sorted(layers, key=lambda node: -worth(node)))


def _behind(index: GraphIndex, node: onnx.NodeProto) -> list[str]:
    """The outputs of a layer, and of the Relu or Clip that reads it."""
    found = [*node.output]
    for name in node.output:
        bounding = (reader for reader in index.readers[name] if reader.op_type in BOUNDING and reader.input[0] == name)
        found += (behind for reader in bounding for behind in reader.output)
    return found


def with_neighbours(model: onnx.ModelProto, layers: Sequence[str]) -> set[str]:
    """`layers`, and the operators without weights that only they give values to, or only they read: codes would be made for nothing.

    A Relu or Clip goes with what gives it values: in front of it, 256 codes would have to cover what it cuts off.
    """
    chosen = set(layers)
    index = GraphIndex(model)
    before = -1
    while len(chosen) > before:
        before = len(chosen)
        for node in model.graph.node:
            sides = [[index.producers[name] for name in node.input if name in index.producers]]
            if node.op_type not in BOUNDING:
                sides.append([other for name in node.output for other in index.readers[name]])
            if node.op_type not in WEIGHTED and any(side and all(other.name in chosen for other in side) for side in sides):
                chosen.add(node.name)
    return chosen
