"""Activation ranges: the smallest and largest value of every tensor over the calibration set, as a stream.

The reductions run inside the graph, so onnxruntime frees each activation when its consumers are done; two scalars
per tensor leave it. Memory does not grow with the number of images (onnxruntime's own calibrators keep what they
collect: microsoft/onnxruntime #10503). Images go through one at a time, so that neither the batch size nor a
kernel chosen by it can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import track
from edgetl.quantization.prepare import float_values
from edgetl.runtime.session import InputSource, input_of, start

LOW, HIGH = "edgetl_low_", "edgetl_high_"


@dataclass(frozen=True)
class Range:
    """Float32 bounds of an activation, in its own units; `low` <= 0 <= `high`, so that zero has an exact code."""

    low: float
    high: float

    @staticmethod
    def around_zero(low: float, high: float) -> Range:
        """The smallest range that holds `low`, `high` and zero."""
        return Range(min(float(low), 0.0), max(float(high), 0.0))


def tensors_beside(model: onnx.ModelProto, op_types: Collection[str]) -> tuple[str, ...]:
    """The float inputs and outputs of operators of these types, in the order of the graph."""
    values = float_values(model)
    names = (name for node in model.graph.node if node.op_type in op_types for name in (*node.input, *node.output))
    return tuple(dict.fromkeys(name for name in names if name in values))


def observe(
    model: onnx.ModelProto, tensors: Collection[str], source: InputSource, *, batch_size: int, threads: int = 1
) -> dict[str, Range]:
    """The range of each of `tensors` over all samples of `source`; `batch_size` samples are read at once.

    Raises:
        InputError: no samples, samples that do not fit the model, or activations that are not finite.
    """
    engine = start(_observed(model, tensors), threads=threads, optimize=False)
    taken = input_of(engine, "the model to quantize")
    bounds: NDArray[np.float32] | None = None
    with track("calibrate", total=len(source), unit="image") as bar:
        for batch in source.batches(batch_size):
            for image in batch.x:
                ((feed, _),) = taken.feeds(image[np.newaxis])
                seen = np.array(engine.run(None, feed), dtype=np.float32).reshape(2, -1)  # lows, highs
                bounds = seen if bounds is None else np.stack([np.minimum(bounds[0], seen[0]), np.maximum(bounds[1], seen[1])])
            bar.advance(len(batch.x))
    if bounds is None:
        raise InputError("expected at least one calibration image, found none")
    _refuse_infinite(tensors, bounds)
    return {name: Range.around_zero(low, high) for name, low, high in zip(tensors, *bounds, strict=True)}


def narrowed(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges without what their only reader throws away: HardSwish is 0 below -3, HardSigmoid constant outside its slope.

    Codes spent there carry nothing. (The QDQ writer does the same for Relu and Clip.)
    """
    result = dict(ranges)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {output.name for output in model.graph.output}
    for name, found in ranges.items():
        if len(readers.get(name, ())) == 1 and name not in outputs:
            low, high = _useful(readers[name][0])
            result[name] = Range.around_zero(max(found.low, low), min(found.high, high))
    return result


def _useful(reader: onnx.NodeProto) -> tuple[float, float]:
    match reader.op_type:
        case "HardSwish":
            return -3.0, np.inf
        case "HardSigmoid":
            given = {item.name: item.f for item in reader.attribute}
            alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
            return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 and 0 <= beta <= 1 else (-np.inf, np.inf)
        case _:
            return -np.inf, np.inf


def _observed(model: onnx.ModelProto, tensors: Collection[str]) -> bytes:
    """The model with scalar outputs only: the lows of all tensors, then their highs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    del watched.graph.value_info[:]
    for prefix, reduction in ((LOW, "ReduceMin"), (HIGH, "ReduceMax")):
        for index, name in enumerate(tensors):
            watched.graph.node.append(helper.make_node(reduction, [name], [f"{prefix}{index}"], keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(f"{prefix}{index}", TensorProto.FLOAT, []))
    serialized: bytes = watched.SerializeToString()
    return serialized


def _refuse_infinite(tensors: Collection[str], bounds: NDArray[np.float32]) -> None:
    wrong = [name for name, *both in zip(tensors, *bounds, strict=True) if not np.isfinite(both).all()]
    if wrong:
        found = f"found NaN or infinity in {len(wrong)} tensors:\n{listing(wrong)}"
        raise InputError(f"expected finite activations, {found}\ncheck the model and its inputs")
