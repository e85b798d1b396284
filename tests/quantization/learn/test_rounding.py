"""Second-order rounding and bias correction do what their equations promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgetl.quantization.candidates.qdq import as_qdq
from edgetl.quantization.candidates.saturation import Pairs, pairs_of, saturating
from edgetl.quantization.candidates.weights import with_fitted_weights
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.graph.layers import layers
from edgetl.quantization.learn.operators import OPERATORS
from edgetl.quantization.learn.quantizers import Weight
from edgetl.quantization.learn.rounding import Columns, channel_means, refined, second_order_codes
from edgetl.quantization.learn.simulation import GraphStep, Simulation
from edgetl.quantization.observe.ranges import extremes
from edgetl.quantization.observe.statistics import observe, tensors_beside
from edgetl.quantization.prepare.prepare import prepare_graph

KINDS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv": ("Conv", (6, 4, 3, 3), (3, 4, 8, 7), {"pads": [1, 1, 1, 1]}),
    "strides, dilations and uneven pads": (
        "Conv",
        (6, 4, 3, 2),
        (3, 4, 9, 9),
        {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 1, 2, 0]},
    ),
    "groups": ("Conv", (6, 2, 3, 3), (3, 4, 8, 7), {"group": 2}),
    "depthwise": ("Conv", (4, 1, 3, 3), (3, 4, 8, 7), {"group": 4}),
    "gemm": ("Gemm", (7, 5), (9, 5), {"transB": 1}),
    "gemm, other way": ("Gemm", (5, 7), (9, 5), {}),
    "matmul of tokens": ("MatMul", (5, 7), (3, 4, 5), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_second_moments_foretell_the_error_of_the_output(name: str) -> None:
    """E[(d x)^2] = d E[x x^T] d^T: the layout of weights, groups and windows is the operator's own."""
    kind, shape, inputs, attributes = KINDS[name]
    generator = torch.Generator().manual_seed(0)
    x, change = torch.rand(inputs, generator=generator), torch.randn(shape, generator=generator)
    step = GraphStep(kind=kind, attributes=attributes, inputs=("x", "w"), outputs=("y",), done=())
    weight = Weight(np.zeros(shape, np.int8), change.numpy(), np.ones((), np.float32), None)
    columns = Columns.of(step, weight)
    assert columns is not None
    rows, moments = columns.rows(change), columns.second_moments(x, generator)
    torch.testing.assert_close(columns.back(rows), change)
    foretold = torch.einsum("goi,gij,goj->go", rows, moments, rows).flatten()
    output = OPERATORS[kind](attributes, x, change)
    torch.testing.assert_close(foretold, channel_means(output.square(), kind))


def correlated(inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights in steps [1, 16, inputs], and the second moments of inputs that go together [1, inputs, inputs]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2000, 6, generator=generator) @ torch.rand(6, inputs, generator=generator) + 0.1 * torch.rand(
        2000, inputs, generator=generator
    )
    return 40 * torch.randn(1, 16, inputs, generator=generator), (x.t() @ x)[None] / len(x)


def test_later_weights_make_good_for_earlier_ones() -> None:
    for inputs in (30, 300):  # less and more than one block
        values, moments = correlated(inputs)
        found = second_order_codes(values, moments, [None] * inputs)
        nearest = values.round().clamp(-127, 127)
        ours, theirs = (torch.einsum("goi,gij,goj->", d, moments, d) for d in (found - values, nearest - values))
        assert torch.equal(found, found.round()) and found.abs().max() <= 127
        assert ours < theirs / 10


def test_neighbours_stay_within_their_limit_and_others_make_good_for_that_too() -> None:
    values, moments = correlated(40)
    values = values * 3
    found = second_order_codes(values, moments, [at ^ 1 for at in range(40)])
    sums = found[:, :, 0::2] + found[:, :, 1::2]
    assert sums.abs().max() <= 128
    assert found.abs().max() > 100


def test_partners_are_those_of_the_layer() -> None:
    step = GraphStep(kind="Gemm", attributes={}, inputs=(), outputs=(), done=())
    weight = Weight(np.zeros((4, 3), np.int8), np.zeros((4, 3), np.float32), np.ones((), np.float32), None)
    columns = Columns.of(step, weight)
    assert columns is not None
    first = np.array([0, 1, 2, 6, 7, 8])  # inputs 0 and 2 of each of three outputs
    assert columns.partners(Pairs(first, first + 3)) == [1, 0, 3, 2]


@pytest.fixture
def graphs(small: Path, noise: Any) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, Pairs]]:
    """The small network, its QDQ form with weights that cannot saturate, and their neighbours."""
    prepared = prepare_graph(small)
    seen = observe(prepared, tensors_beside(GraphIndex(prepared), INT8_OPS), noise(16), batch_size=8)
    qdq = as_qdq(prepared, {name: extremes(found) for name, found in seen.items()})
    pairs = pairs_of(qdq)
    return prepared, with_fitted_weights(qdq, prepared, pairs), pairs


def test_corrected_biases_give_each_channel_its_mean(graphs: Any, noise: Any) -> None:
    prepared, qdq, pairs = graphs
    found = refined(prepared, qdq, noise(32), correct_biases=True, pairs=pairs)
    (batch,) = noise(32).batches(32)
    x = torch.from_numpy(batch.x)

    def means(model: onnx.ModelProto) -> list[torch.Tensor]:
        kinds = {node.output[0]: node.op_type for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
        with torch.no_grad():
            _, seen = Simulation(model)(x, kinds)
        return [channel_means(seen[name], kind) for name, kind in kinds.items()]

    wanted = means(prepared)
    before, after = ([float((a - b).abs().max()) for a, b in zip(wanted, means(model), strict=True)] for model in (qdq, found))
    assert max(after) < max(before) / 5 and max(after) < 2e-3


def test_rounding_changes_codes_of_weights_and_nothing_else(graphs: Any, noise: Any) -> None:
    prepared, qdq, pairs = graphs
    found = refined(prepared, qdq, noise(32), second_order=True, pairs=pairs)
    assert not saturating(found)
    old, new = GraphIndex(qdq).constants, GraphIndex(found).constants
    weights = {layer.weight.input[0] for layer in layers(GraphIndex(qdq))}
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed and changed <= weights
    assert found.SerializeToString() == refined(prepared, qdq, noise(32), second_order=True, pairs=pairs).SerializeToString()


def test_a_simulation_starts_where_the_graph_is(graphs: Any, noise: Any) -> None:
    """Other codes than the nearest are not rounded back."""
    prepared, qdq, pairs = graphs
    found = refined(prepared, qdq, noise(32), second_order=True, correct_biases=True, pairs=pairs)
    (batch,) = noise(8, seed=3).batches(8)
    with torch.no_grad():
        plain, with_floats = (
            Simulation(found, floats, pairs)(torch.from_numpy(batch.x))[0] for floats in (None, GraphIndex(prepared).constants)
        )
    torch.testing.assert_close(plain, with_floats)
