"""The int8 engine: a float ONNX classifier and calibration images in, an int8 ONNX classifier out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgetl.quantization.compact import compact
from edgetl.quantization.prepare import prepare, with_opsets_used
from edgetl.quantization.qdq import INT8_OPS, with_float_outputs, write_qdq
from edgetl.quantization.ranges import Range, narrowed, observe, tensors_beside
from edgetl.quantization.targets import reduced_range
from edgetl.runtime.onnx_metadata import check_model, clean, describe, read_info, save
from edgetl.runtime.session import InputSource, open_session
from edgetl.settings import Target

TARGET = "edgetl.target"
FLOAT_OUTPUT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can give float


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """What was done, for the decision log; plain values, so that it goes into JSON as it is.

    Attributes:
        target: the CPU it was made for.
        reduce_range: whether weights keep to 7 bits.
        images: calibration images.
        ranges: tensor of the prepared float graph -> its bounds.
        int8: operator type -> how many run in int8.
        floating: operator type -> how many stay in float.
    """

    target: Target
    reduce_range: bool
    images: int
    ranges: Mapping[str, Range]
    int8: Mapping[str, int]
    floating: Mapping[str, int]


def quantize(
    model: Path, calibration: InputSource, *, target: Target = "portable", batch_size: int = 32, out: Path, threads: int = 1
) -> QuantizationRecord:
    """Write the int8 form of the float classifier `model` to `out`; the same inputs give the same bytes.

    Args:
        model: float ONNX; its labels, Preprocess and other metadata are kept.
        calibration: images that set the activation ranges.
        target: CPU it is for.
        batch_size: calibration images read at once; no part of the result.
        out: the file to write.
        threads: onnxruntime's threads.

    Raises:
        InputError: a model that cannot be used or is quantized already, or images that do not fit it.
    """
    open_session(model)  # refuses what is no classifier
    info = read_info(model)
    prepared = prepare(model)
    seen = observe(prepared, tensors_beside(prepared, INT8_OPS), calibration, batch_size=batch_size, threads=threads)
    ranges = narrowed(prepared, seen)
    reduce_range = reduced_range(target)
    graph = with_float_outputs(write_qdq(prepared, ranges, reduce_range=reduce_range))
    described = describe(compact(with_opsets_used(clean(graph))), replace(info, extra={**info.extra, TARGET: target}))
    check_model(described, out.name)
    save(described, out)
    int8, floating = counts(described)
    return QuantizationRecord(
        target=target, reduce_range=reduce_range, images=len(calibration), ranges=ranges, int8=int8, floating=floating
    )


def counts(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    """Operators of a QDQ graph by type: those that onnxruntime can run on int8 codes, and those in float.

    Int8 needs a kernel, an input that was dequantized, and an output that is quantized (Gemm and MatMul can do without).
    """
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    quantized = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    int8: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        reads = node.op_type in INT8_OPS and makers.get(node.input[0]) == "DequantizeLinear"
        writes = node.op_type in FLOAT_OUTPUT or quantized.issuperset(node.output)
        (int8 if reads and writes else floating)[node.op_type] += 1
    return dict(sorted(int8.items())), dict(sorted(floating.items()))
