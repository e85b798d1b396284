"""The kernels that onnxruntime's optimizer makes of a graph, and the share of the time that each takes.

A QDQ file is a request. Where a pattern does not match, onnxruntime computes in float and converts back and forth, without a
word: a file can be "int8" and slower than float (microsoft/onnxruntime #20052, #17389). Its profiler tells.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgetl.runtime.foreign.graph import makers
from edgetl.runtime.latency import WARM_UP, sample
from edgetl.runtime.loading import load_proto
from edgetl.runtime.session import open_session

MATRIX = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
MARK = "::edgetl::"  # ends a name that is given for a profile
CODE_TYPES = frozenset({"uint8", "int8"})


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One step of what is run.

    Attributes:
        name: of the node: the network's own where it was given, else as far as the file and onnxruntime's fusions keep one.
        kind: onnxruntime's operator.
        share: of the time of all kernels, a fraction; medians of the runs.
        on: "int8" where codes go in, "conversion" between codes and floats, else "float".
    """

    name: str
    kind: str
    share: float
    on: str


def kernels(path: Path, runs: int = 20, *, like: Sequence[int] | None = None, names: Mapping[str, str] | None = None) -> tuple[Kernel, ...]:
    """The kernels of a model in the order in which they run: one thread, one image of noise, of the size `like` [c, h, w].

    `names` are what kernels are to be called: name of a node or value in the file -> the network's own.

    Raises:
        InputError: a model that cannot be used.
    """
    image = sample(open_session(path), like)
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        named = _named(load_proto(path), names) if names else None
        if named:
            (path := Path(folder) / path.name).write_bytes(named.SerializeToString())
        session = open_session(path, profile=Path(folder) / "profile")
        for _ in range(WARM_UP + runs):
            session.compute(image)
        events = json.loads(Path(session.engine.end_profiling()).read_text(encoding="utf-8"))
    times: dict[int, list[float]] = defaultdict(list)
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            index = int(event["args"]["node_index"])
            times[index].append(float(event["dur"]))
            found.setdefault(index, event)
    medians = {index: statistics.median(durations[WARM_UP:]) for index, durations in times.items()}
    whole = sum(medians.values()) or 1.0
    return tuple(_kernel(event, medians[index] / whole, named) for index, event in found.items())


def _named(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """A copy whose nodes and their outputs begin with these names: whatever onnxruntime makes of them, it makes its own names of theirs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    public = {value.name for value in result.graph.output}
    values: dict[str, str] = {}
    for index, node in enumerate(result.graph.node):
        if name := next((names[key] for key in (*node.output, node.name) if key in names), None):
            node.name = f"{name}{MARK}{index}"
            values.update({output: f"{node.name}.{place}" for place, output in enumerate(node.output) if output not in {*public, ""}})
    for node in result.graph.node:
        for fields in (node.input, node.output):
            for place, name in enumerate(fields):
                fields[place] = values.get(name, name)
    return result


def _kernel(event: dict[str, Any], share: float, named: onnx.ModelProto | None) -> Kernel:
    kind = event["args"]["op_name"]
    types = {name for given in event["args"].get("input_type_shape", []) for name in given}
    on = "conversion" if kind in CONVERSIONS else "int8" if types & CODE_TYPES else "float"
    share = round(share, 6)
    name = event["name"].removesuffix("_kernel_time")
    return Kernel(name=_own_name(name, kind, named) if named else name, kind=kind, share=share, on=on)


def _own_name(name: str, kind: str, named: onnx.ModelProto) -> str:
    """The name of a kernel; a kernel that onnxruntime named after the activation fused into it is called as its layer."""
    own, mark, rest = name.partition(MARK)
    if not (mark and kind in MATRIX):
        return own
    made_by = makers(named.graph)
    node = named.graph.node[int(re.match(r"\d+", rest).group())]  # type: ignore[union-attr]
    while node.op_type not in MATRIX and node.input and node.input[0] in made_by:
        node = made_by[node.input[0]]
    return node.name.partition(MARK)[0] if node.op_type in MATRIX else own


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the time of a graph goes; shares are fractions and add up to 1.

    Attributes:
        int8: share of the kernels on codes.
        conversion: share of QuantizeLinear and DequantizeLinear.
        floating: share of all others.
        float_layers: Conv, Gemm and MatMul among these, the slowest first.
        islands: conversions within the graph: all but that of the input and those that give the logits.
    """

    int8: float
    conversion: float
    floating: float
    float_layers: tuple[Kernel, ...]
    islands: tuple[Kernel, ...]


def placement(found: tuple[Kernel, ...]) -> Placement:
    """The summary of `kernels`."""
    share = {on: min(1.0, sum(kernel.share for kernel in found if kernel.on == on)) for on in ("int8", "conversion", "float")}
    on_codes = [index for index, kernel in enumerate(found) if kernel.on == "int8"]
    first, last = (on_codes[0], on_codes[-1]) if on_codes else (len(found), 0)
    inside = [kernel for kernel in found[first : last + 1] if kernel.on == "conversion"]
    layers = [kernel for kernel in found if kernel.on == "float" and kernel.kind in MATRIX]
    return Placement(
        int8=share["int8"],
        conversion=share["conversion"],
        floating=share["float"],
        float_layers=tuple(sorted(layers, key=lambda kernel: -kernel.share)),
        islands=tuple(sorted(inside, key=lambda kernel: -kernel.share)),
    )
