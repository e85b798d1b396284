"""Cross-layer equalization changes no answer, makes ranges equal, and leaves alone what is not equivariant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgetl.quantization.engine import quantize
from edgetl.quantization.equalization import equalized, links
from edgetl.quantization.layers import constants
from edgetl.quantization.prepare import prepare
from edgetl.runtime.session import start

rng = np.random.default_rng(0)


def chain(between: str = "Relu", *, outputs: tuple[str, ...] = ("y",), groups: int = 1) -> onnx.ModelProto:
    """Conv of very uneven channels, something between, a depthwise Conv, and a Conv."""
    uneven = (10.0 ** rng.uniform(-2, 2, (8, 1, 1, 1))).astype(np.float32)
    stored = {
        "w1": rng.standard_normal((8, 3, 3, 3), dtype=np.float32) * uneven, "b1": rng.standard_normal(8, dtype=np.float32),
        "w2": rng.standard_normal((8, 8 // groups, 3, 3), dtype=np.float32), "w3": rng.standard_normal((5, 8, 1, 1), dtype=np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"]),
        helper.make_node(between, ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], group=groups),
        helper.make_node("Conv", ["c", "w3"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", *outputs)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [numpy_helper.from_array(v, k) for k, v in stored.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_function_stays_and_ranges_become_equal() -> None:
    for groups in (1, 8):
        model = chain(groups=groups)
        found = equalized(model)
        assert found is not None
        x = rng.standard_normal((4, 3, 9, 9), dtype=np.float32)
        before, after = (start(graph.SerializeToString(), optimize=False).run(None, {"x": x})[0] for graph in (model, found))
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
        old, new = (np.abs(constants(graph)["w1"]).max((1, 2, 3)) for graph in (model, found))
        assert new.max() / new.min() < old.max() / old.min() / 5


def test_only_what_is_equivariant_is_crossed() -> None:
    assert [link.first for link in links(chain("Relu"))] == ["w1", "w2"]
    for between in ("Sigmoid", "HardSwish"):
        assert [link.first for link in links(chain(between))] == ["w2"]


def test_an_output_and_other_groups_stay() -> None:
    assert [link.first for link in links(chain(outputs=("y", "a")))] == ["w2"]
    assert [link.first for link in links(chain(groups=2))] == ["w2"]


def test_where_channels_differ_a_thousandfold_it_is_kept(noise: Any, tmp_path: Path) -> None:
    """One scale for all channels of an activation leaves few codes to the small ones."""
    model = chain(groups=8)
    made = [helper.make_node("GlobalAveragePool", ["y"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["logits"])]
    model.graph.node.extend(made)
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16]))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5]))
    onnx.save(model, tmp_path / "float.onnx")
    trials = quantize(tmp_path / "float.onnx", noise(40), out=tmp_path / "int8.onnx", tune_images=0).trials
    plain, balanced = (
        max(trial.sqnr_db for trial in trials if trial.sqnr_db and trial.name.startswith(name))
        for name in ("extremes", "layers equalized, extremes")
    )
    assert balanced > plain + 3


def test_nothing_to_do_is_said(small: Path) -> None:
    """All of the small network's Convs are read by other operators as well."""
    assert equalized(prepare(small)) is None


def test_a_real_graph_answers_as_before(shared: Path, noise: Any) -> None:
    model = prepare(shared / "models" / "resnet20_cifar10.onnx")
    found = equalized(model)
    assert found is not None and len(links(model)) == 9  # the first Conv of each block
    (batch,) = noise(4, side=32).batches(4)
    before, after = (start(graph.SerializeToString(), optimize=True).run(None, {"input": batch.x})[0] for graph in (model, found))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
