"""What stays in float in an int8 graph, and why: nothing does so silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS, runs_on_codes

NO_VALUES = frozenset({"Constant", "ConstantOfShape", "Shape"})
ENDS = "first and last layers, where int8 saves little on this CPU"
WHOLE_NUMBERS = "first layers: integers in float32, whose sums are exact on every CPU"
NORMALIZED = "no weights, between normalizations, where codes cost more than they save"
COMPUTED = "an operand is computed, or the constant is on the left"
BUDGET = "for the budget"
NO_KERNEL = "no int8 kernel"
DECIDES = "its largest outputs would round to the same code"
BETWEEN = "its input or output is in float"


@dataclass(frozen=True, kw_only=True)
class InFloat:
    """So many operators of one type, in float for one reason."""

    kind: str
    count: int
    why: str


def operator_placement(model: onnx.ModelProto, chosen: Mapping[str, str]) -> tuple[dict[str, int], tuple[InFloat, ...]]:
    """Operators of a QDQ graph: how many of each type onnxruntime can run on int8 codes, and those in float.

    Args:
        model: the graph.
        chosen: names of operators that were left in float, and why.
    """
    int8: Counter[str] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for position, codes in runs_on_codes(GraphIndex(model)).items():
        node = model.graph.node[position]
        if codes:
            int8[node.op_type] += 1
        elif node.op_type not in NO_VALUES:
            found[_why(node, chosen), node.op_type] += 1
    in_float = tuple(InFloat(kind=kind, count=count, why=why) for (why, kind), count in sorted(found.items()))
    return dict(sorted(int8.items())), in_float


def _why(node: onnx.NodeProto, chosen: Mapping[str, str]) -> str:
    if node.op_type == "Softmax":
        return DECIDES
    if node.op_type not in INT8_OPS and chosen.get(node.name) not in (ENDS, WHOLE_NUMBERS):
        return NO_KERNEL
    return chosen.get(node.name, BETWEEN)


def placement_line(in_float: Sequence[InFloat]) -> str:
    """For people, by reasons."""
    reasons = dict.fromkeys(each.why for each in in_float)
    return "; ".join(f"{', '.join(f'{each.count} {each.kind}' for each in in_float if each.why == why)} ({why})" for why in reasons)
