"""A plan as C text: the functions that it calls, its tables, and the calls in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetl.cgen.arena import Arena
from edgetl.cgen.functions import functions_for
from edgetl.cgen.plan import (
    AverageLogits,
    AveragePool,
    Concat,
    Conv,
    Decode,
    Gemm,
    GlobalAverage,
    Load,
    Map,
    MaxPool,
    Operator,
    Pad,
    Program,
    Sum,
    Unary,
    WholeConv,
)
from edgetl.cgen.tables import number, table
from edgetl.cgen.tensors import Tensor, Window


@dataclass(frozen=True)
class CSource:
    """C text in pieces.

    Attributes:
        tables: constants, in order.
        calls: statements of the function that runs the network.
        used: names of functions.
        table_bytes: of all constants.
    """

    arena: Arena
    tables: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=lambda: {"answer"})
    sizes: list[int] = field(default_factory=list)

    @property
    def table_bytes(self) -> int:
        """Of all constants."""
        return sum(self.sizes)

    def functions(self) -> str:
        """The text of all functions that are called."""
        return functions_for(self.used)

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """One more table; its name."""
        self.tables.append(table(name, values))
        self.sizes.append(values.nbytes)
        return name

    def window(self, index: int, source: tuple[int, int, int], output: Tensor, window: Window, groups: int = 1) -> str:
        """A table of sizes, [height, width, channels] first; the name of it."""
        sizes = [*source, output.height, output.width, output.channels, *window.kernel, *window.strides, *window.pads, *window.dilations]
        self.tables.append(f"static const Window window_{index} = {{{', '.join(map(str, [*sizes, groups]))}}};\n")
        self.sizes.append(2 * (len(sizes) + 1))
        return f"&window_{index}"

    def place(self, tensor: Tensor) -> str:
        """Where a tensor lies."""
        offset = self.arena.tensors[tensor]
        return f"bytes + {offset}" if tensor.kind == "uint8" else f"arena + {offset // 2}"

    def call(self, name: str, *arguments: object) -> None:
        """One more statement."""
        self.used.add(name)
        self.calls.append(f"    {name}({', '.join(map(str, arguments))});")


def c_source(plan: Program, arena: Arena) -> CSource:
    """Tables and calls of a plan."""
    text = CSource(arena)
    for index, operator in enumerate(plan.operators):
        _write(text, index, operator, plan)
    return text


def _write(text: CSource, index: int, operator: Operator, plan: Program) -> None:
    """The call of one operator, and its tables."""
    match operator:
        case Load():
            _load(text, index, operator, plan)
        case WholeConv():
            _whole_conv(text, index, operator, plan)
        case Conv():
            _conv(text, index, operator)
        case Sum(output=Tensor() as output):
            size = output.size_bytes
            numbers = (size, *operator.factors, operator.offset, operator.shift)
            text.call("sum", text.place(operator.first), text.place(operator.second), text.place(output), *numbers)
        case Concat(output=Tensor() as output):
            front = 0
            for part in operator.parts:
                text.call("concat", text.place(part), f"{text.place(output)} + {front}", part.places, part.channels, output.channels)
                front += part.channels
        case Unary():
            _unary(text, index, operator)


def _load(text: CSource, index: int, load: Load, plan: Program) -> None:
    assert load.output is not None
    window = text.window(index, plan.image, load.output, Window(kernel=(1, 1), pads=load.pads))
    codes, fill = text.constant(f"codes_{index}", load.codes), text.constant(f"fill_{index}", load.fill)
    text.call("load", "image", text.place(load.output), window, codes, fill, int(load.squares))


def _scratch(text: CSource, index: int, in_bytes: bool) -> str:
    offset = text.arena.scratch.get(index)
    return "0" if offset is None else f"bytes + {offset}" if in_bytes else f"arena + {offset // 2}"


def _conv(text: CSource, index: int, conv: Conv) -> None:
    source, output = conv.source, conv.output
    assert output is not None
    window = text.window(index, (source.height, source.width, source.channels), output, conv.window, conv.groups)
    weight = conv.weight.transpose(1, 2, 0, 3) if conv.depthwise else conv.weight
    constants = [
        text.constant(f"{name}_{index}", np.ascontiguousarray(values))
        for name, values in (("weight", weight), ("bias", conv.bias), ("scale", conv.scale))
    ]
    places = [text.place(source), text.place(output)] + ([] if conv.depthwise else [_scratch(text, index, True)])
    text.call("depthwise" if conv.depthwise else "conv", *places, window, *constants, conv.source_zero, conv.zero)


def _whole_conv(text: CSource, index: int, conv: WholeConv, plan: Program) -> None:
    output = conv.output
    assert output is not None
    window = text.window(index, (*conv.size, conv.channels), output, conv.window, conv.groups)
    weight, bias = text.constant(f"weight_{index}", conv.weight), text.constant(f"bias_{index}", conv.bias)
    unit = text.constant(f"unit_{index}", conv.unit)
    results = (text.place(output), "0") if output.kind == "uint8" else ("0", text.place(output))
    rest = (*results, _scratch(text, index, False), window, weight, bias, unit, _after(text, index, conv))
    if conv.source is not None:
        text.call("whole_conv", text.place(conv.source), *rest)
        return
    assert conv.levels is not None
    less = np.arange(256)[None] - conv.levels
    if (less == less[:, :1]).all():
        text.call("stem_shifted", "image", text.constant(f"less_{index}", less[:, 0].astype(np.int16)), *rest)
    else:
        text.call("stem", "image", text.constant(f"levels_{index}", conv.levels), *rest)


def _after(text: CSource, index: int, conv: WholeConv) -> str:
    low, high, times = -np.inf, np.inf, 1.0
    for kind, *numbers in conv.steps:
        if kind == "clip":
            low, high = max(low, numbers[0]), min(high, numbers[1])
        else:
            times = numbers[0]
    values = [number(each) for each in (low, high, times, conv.scale)] + [str(each) for each in (conv.zero, conv.low, conv.high)]
    text.tables.append(f"static const After after_{index} = {{{', '.join(values)}}};\n")
    text.sizes.append(28)
    return f"&after_{index}"


def _unary(text: CSource, index: int, operator: Unary) -> None:
    source, output = operator.source, operator.output
    shape, size = (source.height, source.width, source.channels), source.places * source.channels
    read = text.place(source)
    match operator:
        case Gemm():
            weight, bias = text.constant(f"weight_{index}", operator.weight), text.constant(f"bias_{index}", operator.bias)
            scale = text.constant(f"scale_{index}", operator.scale)
            text.call("linear", read, "logits", size, len(operator.weight), weight, bias, scale)
        case AverageLogits():
            numbers = (source.places, source.channels, operator.source_zero, number(operator.scale))
            text.call("average_logits", read, "logits", *numbers)
        case Decode():
            text.call("decode", read, "logits", source.places, source.channels, operator.zero, number(operator.scale))
        case _:
            assert output is not None
            _pooled(text, index, operator, (read, text.place(output)), shape, output)


def _pooled(text: CSource, index: int, operator: Unary, places: Sequence[str], shape: tuple[int, int, int], output: Tensor) -> None:
    """Operators without weights that make a tensor."""
    match operator:
        case MaxPool():
            name = "max_pool" if output.kind == "uint8" else "max_pool_whole"
            text.call(name, *places, text.window(index, shape, output, operator.window))
        case AveragePool():
            window = text.window(index, shape, output, operator.window)
            counted = int(np.prod(operator.window.kernel)) if operator.whole_window else 0
            values = text.constant(f"values_{index}", operator.values)
            text.call("average_pool", *places, window, values, counted, number(operator.scale), number(operator.zero))
        case GlobalAverage():
            numbers = (operator.source_zero, number(operator.scale), operator.zero)
            text.call("global_average", *places, shape[0] * shape[1], shape[2], *numbers)
        case Map():
            text.call("map", *places, int(np.prod(shape)), text.constant(f"codes_{index}", operator.codes))
        case Pad():
            top, left, front = operator.before
            window = text.window(index, shape, output, Window(kernel=(1, 1), pads=(top, left)))
            text.call("pad", *places, window, front, operator.fill)


def labels(classes: Sequence[str]) -> Iterator[str]:
    """Class names as C string constants, what is not ASCII as octal escapes of UTF-8."""
    for name in classes:
        yield '"' + "".join(_escaped(byte) for byte in name.encode()) + '"'


def _escaped(byte: int) -> str:
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"
