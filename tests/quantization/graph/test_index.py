"""The index of a graph says what onnx-ir, which reads graphs in its own way, says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import layers
from edgetl.quantization.prepare.prepare import prepare_graph


@pytest.fixture
def graph(small: Path, noise: Any) -> onnx.ModelProto:
    """A QDQ graph, and a branch of it that reads one of its values."""
    model = Baseline.of(prepare_graph(small), noise(8), "portable", batch_size=8, threads=1).by_extremes
    value = helper.make_tensor_value_info("seen", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", [model.graph.node[1].output[0]], ["seen"])], "branch", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["watched"], name="if", then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("watched", TensorProto.FLOAT, None))
    return model


def test_producers_readers_and_constants_are_those_of_onnx_ir(graph: onnx.ModelProto) -> None:
    index, theirs = GraphIndex(graph), onnx_ir.from_proto(graph).graph
    inner = {name for node in theirs if node.op_type == "If" for name in ("seen",)}
    values = {value.name: value for node in theirs for value in (*node.inputs, *node.outputs) if value is not None}
    assert len(values) > 40
    for name, value in values.items():
        maker = value.producer()
        assert (None if maker is None else maker.name) == (None if (ours := index.producer(name)) is None else ours.name), name
        read = Counter(use.node.name if use.node.graph is theirs else "if" for use in value.uses())
        assert Counter(node.name for node in index.readers[name]) == read, name
        assert index.times_read[name] == read.total() + (name in index.outputs), name
    assert not inner & {*values}
    assert {*index.constants} == {*theirs.initializers}
    for name, value in theirs.initializers.items():
        assert value.const_value is not None
        np.testing.assert_array_equal(index.constants[name], value.const_value.numpy())


def test_shapes_are_those_that_onnxruntime_gives(build_small: Callable[..., Path], noise: Any) -> None:
    model = prepare_graph(build_small(batch=2))
    names = [name for node in model.graph.node for name in node.output]
    index = GraphIndex(model)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    engine = onnx.reference.ReferenceEvaluator(model)
    found = engine.run(None, {"input": np.concatenate([noise(2).image(i)[None] for i in range(2)])})
    assert {name: index.shapes[name] for name in names} == {name: list(value.shape) for name, value in zip(names, found, strict=True)}


def test_pairs_and_layers_are_found(graph: onnx.ModelProto) -> None:
    index = GraphIndex(graph)
    found = [*layers(index)]
    assert [layer.node.op_type for layer in found] == ["Conv", "Conv", "Conv", "Gemm"]
    for layer in found:
        assert layer.source is not None
        quantize = index.quantizer_of(layer.node.input[0])
        assert quantize is not None and quantize.input[1:] == layer.source.input[1:]
        assert index.quantizer_of(layer.node.input[1]) is None  # of a stored weight there is none
