"""Scales with which int8 Adds round alike on every CPU.

onnxruntime adds codes as q i + p j, the inputs' scales over the output's, times the codes: in float32 on x86 and in WebAssembly,
where halves go to the even code, in whole numbers on ARM64, where they go up. Single codes then differ, one in ten thousand on
ResNet-20, and become thousands on their way to the answer (docs/log.md). With ratios q u / 2^14 and p u / 2^14 of whole numbers,
u odd and p + q <= 32, every product and sum is exact in 24 bits, and none is a half: 2^13 would have to divide 255 (p + q) or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.passes import Pass
from edgetl.quantization.graph.quant_params import QuantParams, quant_params, with_quant_params

UNITS = 2**14  # of a ratio of 1
MOST_PARTS = UNITS // 2 // 256  # p + q at most
MOST_UNITS = 4 * UNITS  # of both ratios: sums below 2^10
LEAST_REACH, MOST_REACH, REACH = 8, 64, 1 / 32  # how far from the wanted units others are tried: at least, at most, as a share of them
NEAR_FACTOR = 1.1  # how far the fraction of the two may be from theirs: within 31 times it never is
FRACTIONS = tuple((q, p) for q in range(1, MOST_PARTS) for p in range(1, MOST_PARTS - q + 1) if math.gcd(q, p) == 1)
Scale = np.float32
Scales = tuple[Scale, Scale, Scale]
Codes = tuple[Scale, int]  # scale and zero point


def with_exact_adds(index: GraphIndex) -> onnx.ModelProto:
    """A QDQ graph with slightly other scales of what goes into Adds and comes out of them, and biases in the codes that follow from it.

    Equal scales of equal zero points stay equal, since operators that only hand codes on need that. An Add of which other Adds give two
    scales already stays as it is, and so does one whose inputs' scales are more than 31 times apart.
    """
    numbers = quant_params(index.model)
    given = {name: (Scale(scale), zero) for name, (scale, zero) in numbers.activations.items()}
    moved: dict[Codes, Scale] = {}
    for names in adds(index):
        if all(name in given for name in names):
            first, second, output = (given[name] for name in names)
            codes = (first, second, output)
            found = _exact(codes, {each: moved[each] for each in codes if each in moved})
            moved.update(zip(codes, found, strict=True))
    activations = {name: (float(moved.get(given[name], given[name][0])), zero) for name, (_, zero) in numbers.activations.items()}
    return with_quant_params(index.model, QuantParams(activations=activations, biases=numbers.biases, beside=numbers.beside))


def adds(index: GraphIndex) -> Iterator[tuple[str, str, str]]:
    """The names of the scales of each Add that runs on codes: of what it reads, twice, and of what it makes; in the graph's order."""
    for node in index.nodes:
        if node.op_type == "Add" and (after := index.quantizers.get(node.output[0])) is not None:
            first, second = (index.producer(name, "DequantizeLinear") for name in node.input)
            if first is not None and second is not None:
                yield first.input[1], second.input[1], after.input[1]


def _exact(codes: tuple[Codes, Codes, Codes], known: Mapping[Codes, Scale]) -> Scales:
    """Scales near the given ones with ratios as above, what is known unchanged; where there are none, the given ones."""
    one, other, output = (known.get(each, each[0]) for each in codes)
    given, first, second = (one, other, output), float(one) / float(output), float(other) / float(output)
    q, p = min(FRACTIONS, key=lambda fraction: abs(math.log(fraction[0] / fraction[1] * second / first)))
    if len(known) > 1 or max(first * p, second * q) > NEAR_FACTOR * min(first * p, second * q) or (first + second) * UNITS > MOST_UNITS:
        return given
    anchor = next((index for index, each in enumerate(codes) if each in known), 2)
    wanted = (first / q, second / p, (first + second) / (q + p))[anchor] * UNITS
    reach = max(LEAST_REACH, min(MOST_REACH, int(wanted * REACH)))  # of scales just above a power of two a third has float32 ratios
    for unit in sorted(range(max(1, int(wanted) - reach) | 1, int(wanted) + reach + 1, 2), key=lambda unit: abs(unit - wanted)):
        found = _with_ratios(given, anchor, (q * unit / UNITS, p * unit / UNITS))
        if found is not None and len({*zip(codes, found, strict=True)}) == len({*codes}):  # equal ones still are
            return found
    return given


def _with_ratios(given: Scales, anchor: int, ratios: tuple[float, float]) -> Scales | None:
    """Scales of exactly these ratios, divided in float32, all but that at `anchor` made new; None where rounding does not allow it."""
    output = given[2]
    if anchor < 2:
        quotient = _next_to(float(given[anchor]) / ratios[anchor], lambda scale: given[anchor] / scale == ratios[anchor])
        if quotient is None:
            return None
        output = quotient
    inputs = [
        given[index] if index == anchor else _next_to(ratio * float(output), lambda scale, ratio=ratio: scale / output == ratio)  # type: ignore[misc]
        for index, ratio in enumerate(ratios)
    ]
    first, second = inputs
    return None if first is None or second is None else (first, second, output)


def _next_to(wanted: float, fits: Callable[[Scale], bool]) -> Scale | None:
    """The float32 nearest to `wanted`, or a neighbour of it, that fits."""
    middle = Scale(wanted)
    return next((scale for scale in (middle, np.nextafter(middle, Scale(0)), np.nextafter(middle, Scale(np.inf))) if fits(scale)), None)


EXACT_ADDS = Pass(
    name="exact Adds",
    rewrite=with_exact_adds,
    keeps="same function up to rounding to codes",
    needs=frozenset({"QuantizeLinear"}),
    targets=frozenset({"portable"}),
)
