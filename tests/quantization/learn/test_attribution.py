"""The noise said to come from a rounding is what that rounding does when it is the only one, under onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgetl.quantization.candidates.qdq import with_float_outputs, write_qdq
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.graph.layers import along, channel_axis, float_name, layers
from edgetl.quantization.learn.attribution import attribute
from edgetl.quantization.observe.effort import ATTRIBUTED_IMAGES
from edgetl.quantization.observe.ranges import extremes
from edgetl.quantization.observe.split_for_judging import Arrays, spread
from edgetl.quantization.observe.statistics import observe, tensors_beside
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.engine import start


def with_one_rounding(model: onnx.ModelProto, qdq: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The float graph with one of the roundings of `qdq`: of the weight or of the activation `name`."""
    result, stored = onnx.ModelProto(), GraphIndex(qdq).constants
    result.CopyFrom(model)
    for layer in layers(GraphIndex(qdq)):
        if float_name(layer.weight.input[0]) == name:
            codes, scale = (stored[part] for part in layer.weight.input[:2])
            values = codes.astype(np.float32) * along(scale, codes.ndim, channel_axis(layer.weight))
            (tensor,) = (tensor for tensor in result.graph.initializer if tensor.name == name)
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            return result
    (node,) = (node for node in qdq.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == name)
    result.graph.initializer.extend(numpy_helper.from_array(stored[part], f"{part}_") for part in node.input[1:3])
    for reader in result.graph.node:
        for index, read in enumerate(reader.input):
            if read == name:
                reader.input[index] = "rounded"
    extra = [
        helper.make_node("QuantizeLinear", [name, *(f"{part}_" for part in node.input[1:3])], ["codes"], name="q"),
        helper.make_node("DequantizeLinear", ["codes", *(f"{part}_" for part in node.input[1:3])], ["rounded"], name="d"),
    ]
    after = next((i + 1 for i, maker in enumerate(result.graph.node) if name in maker.output), 0)
    nodes = [*result.graph.node[:after], *extra, *result.graph.node[after:]]
    kept = [onnx.NodeProto.FromString(item.SerializeToString()) for item in nodes]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def unfused(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answers with no other rounding than those in the graph: onnxruntime's optimizer moves and adds pairs around one."""
    answers: NDArray[np.float32] = start(model.SerializeToString(), optimize=False).run(None, {model.graph.input[0].name: x})[0]
    return answers


def test_each_share_is_what_the_rounding_does_alone(small: Path, noise: Any) -> None:
    model = prepare_graph(small)
    seen = observe(model, tensors_beside(GraphIndex(model), INT8_OPS), noise(200, seed=3), batch_size=8)
    qdq = with_float_outputs(write_qdq(model, {name: extremes(found) for name, found in seen.items()}))
    found = attribute(model, qdq, noise(128, seed=3))
    (batch,) = noise(128, seed=3).batches(128)
    exact = unfused(model, batch.x)
    assert {source.kind for source in found} == {"activations", "weights"}
    assert abs(sum(source.share for source in found) - 1) < 1e-9
    for source in found[:6]:  # the worst
        alone = unfused(with_one_rounding(model, qdq, source.name), batch.x)
        measured = float(np.square(alone - exact).sum(1).mean())
        assert 0.6 < source.noise / measured < 1.6, source


def test_the_log_says_where_the_noise_comes_from(small: Path, noise: Any, tmp_path: Path) -> None:
    record = quantize(small, noise(40), out=tmp_path / "int8.onnx", tune_images=64)
    worst = next(source for source in record.noise if source.kind == "activations")
    assert worst.line().startswith(
        f"{worst.share:.0%} of the quantization noise comes from activations of {worst.name} "
        f"({worst.low:.3g} to {worst.high:.3g}, 99.9% of them below"
    )
    assert worst.low is not None and worst.usual is not None and worst.high is not None and worst.low <= worst.usual <= worst.high
    assert record.noise[0].kind == "activations" or record.noise[0].line().endswith(f"weights of {record.noise[0].name}")
    assert [source.noise for source in record.noise] == sorted((source.noise for source in record.noise), reverse=True)


def test_only_a_few_images_are_looked_at_and_they_are_spread(small: Path, noise: Any) -> None:
    """Others may be anything."""
    model, x = prepare_graph(small), np.concatenate([batch.x for batch in noise(2_000).batches(500)])
    seen = observe(model, tensors_beside(GraphIndex(model), INT8_OPS), noise(8), batch_size=8)
    qdq = with_float_outputs(write_qdq(model, {name: extremes(found) for name, found in seen.items()}))
    before, places = attribute(model, qdq, Arrays(x)), spread(2_000, ATTRIBUTED_IMAGES)
    x[np.setdiff1d(np.arange(2_000), places)] = np.nan
    assert attribute(model, qdq, Arrays(x)) == before and places.max() > 1_900
