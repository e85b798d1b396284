"""Passes: small rewritings of a graph. Each declares the operators it needs and its promise about the answers; one loop runs them.

How to add one: docs/adding-a-pass.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.settings import Target

Keeps: TypeAlias = Literal[
    "same bits",  # any input gives the same answers, bit for bit
    "same codes",  # images of 8 bits a channel give the same codes in every layer, so the same answers
    "same function up to float rounding",  # the same sums and products in another order
    "same function up to rounding to codes",  # a QDQ graph that is as near to its float graph as it was
]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One rewriting of a graph.

    Attributes:
        name: for logs and tests.
        rewrite: the index of a graph -> another graph, or the graph itself where there is nothing to do. What it is given stays as it is.
        keeps: the promise about the answers; tests check it for each pass (tests/quantization/test_passes.py).
        needs: operator types without which there is nothing to do.
        targets: CPUs on which it pays.
    """

    name: str
    rewrite: Callable[[GraphIndex], onnx.ModelProto]
    keeps: Keeps
    needs: frozenset[str] = frozenset()
    targets: frozenset[Target] = frozenset(get_args(Target))

    def on(self, index: GraphIndex) -> GraphIndex:
        """Apply the pass: the index of the new graph, or the same index if nothing changed."""
        if not self.needs <= index.kinds:
            return index
        rewritten = self.rewrite(index)
        return index if rewritten is index.model else GraphIndex(rewritten)

    def __call__(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Apply the pass to a graph."""
        return self.on(GraphIndex(model)).model


def run(passes: Iterable[Pass], model: onnx.ModelProto, target: Target | None = None) -> onnx.ModelProto:
    """Apply `passes` in order; with a `target`, only those that pay on it.

    All passes share one index until one of them changes the graph.
    """
    index = GraphIndex(model)
    del model  # as large as its weights; each pass has a graph of its own
    for each in passes:
        if target is None or target in each.targets:
            index = each.on(index)
    return index.model
