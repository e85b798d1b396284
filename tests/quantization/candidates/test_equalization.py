"""Equalization changes no answer, brings reaches of channels together, and leaves alone what is not equivariant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.equalization import equalized, reaches
from edgetl.quantization.candidates.trials import answers
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.types import inferred
from edgetl.quantization.observe.split_for_judging import Arrays, CalibrationParts
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.engine import start

IMAGES = np.random.default_rng(0).standard_normal((16, 3, 16, 16), dtype=np.float32)


def graph(nodes: list[onnx.NodeProto], *, outputs: tuple[str, ...] = ("y",), depthwise: bool = False) -> onnx.ModelProto:
    """A graph of x [n, 3, 16, 16] with weights of 8 very uneven channels: w1, b1, v1 (3 to 8), w2, v2 (8 to 8), w3 (8 to 5), g (8 to 5)."""
    rng = np.random.default_rng(1)
    uneven = (10.0 ** rng.uniform(-2, 2, (8, 1, 1, 1))).astype(np.float32)

    def drawn(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return rng.standard_normal(shape, dtype=np.float32)

    stored = {
        "w1": drawn(8, 3, 3, 3) * uneven, "b1": drawn(8), "v1": drawn(8, 3, 3, 3) * uneven[::-1], "v2": drawn(8, 8, 1, 1),
        "w2": drawn(8, 1 if depthwise else 8, 3, 3), "w3": drawn(5, 8, 1, 1), "w4": drawn(5, 16, 1, 1), "g": drawn(5, 8),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in stored.items() if name in used]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])]
    made = helper.make_graph(nodes, "chain", inputs, values, kept)
    return inferred(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def chain(between: str = "Relu", *, outputs: tuple[str, ...] = ("y",), groups: int = 1) -> onnx.ModelProto:
    """Conv of very uneven channels, something between, a Conv (depthwise for 8 groups), and a Conv."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"]),
        helper.make_node(between, ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], group=groups),
        helper.make_node("Conv", ["c", "w3"], ["y"]),
    ]
    return graph(nodes, outputs=outputs, depthwise=groups == 8)


def changed(model: onnx.ModelProto) -> list[str]:
    """The constants that equalization changes, once it is seen that the function stays."""
    values = dict.fromkeys(name for node in model.graph.node for name in node.output)
    found = equalized(model, values, IMAGES)
    if found is None:
        return []
    before, after = (start(one.SerializeToString(), optimize=False).run(None, {"x": IMAGES})[0] for one in (model, found))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    old, new = GraphIndex(model).constants, GraphIndex(found).constants
    return [name for name in old if not np.array_equal(old[name], new[name])]


@pytest.mark.parametrize("groups", [1, 8])
def test_channels_reach_further_together(groups: int) -> None:
    model = chain(groups=groups)
    assert changed(model) == ["w1", "b1", "w2", "w3"]
    found = equalized(model, {"b": None}, IMAGES)
    assert found is not None
    before, after = (reaches(one, {"b": None}, IMAGES)["b"] for one in (model, found))
    assert after.max() == pytest.approx(before.max(), rel=1e-4)
    alive = before > 0  # the others cannot be told
    expected = np.minimum(np.sqrt(before.max() / before[alive]), 16)
    np.testing.assert_allclose(after[alive] / before[alive], expected, rtol=1e-3)


def test_only_what_is_equivariant_is_crossed() -> None:
    for between in ("Sigmoid", "HardSwish"):
        assert changed(chain(between)) == ["w2", "w3"]


def test_an_output_and_other_groups_stay() -> None:
    assert changed(chain(outputs=("y", "a"))) == ["w2", "w3"]
    assert changed(chain("Identity", outputs=("y", "b"))) == ["w2", "w3"]
    two = chain()
    weight = next(tensor for tensor in two.graph.initializer if tensor.name == "w2")
    weight.CopyFrom(numpy_helper.from_array(np.ones((8, 4, 3, 3), np.float32), "w2"))
    two.graph.node[2].attribute[0].i = 2
    assert changed(two) == []


def test_add_ties_channels_and_concat_keeps_them_apart() -> None:
    first = [helper.make_node("Conv", ["x", "w1", "b1"], ["a"]), helper.make_node("Conv", ["x", "v1"], ["b"])]
    added = [*first, helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Conv", ["c", "w3"], ["y"])]
    assert changed(graph(added)) == ["w1", "b1", "v1", "w3"]
    joined = [*first, helper.make_node("Concat", ["a", "b"], ["c"], axis=1), helper.make_node("Conv", ["c", "w4"], ["y"])]
    assert changed(graph(joined)) == ["w1", "b1", "v1", "w4"]
    rows = [*first, helper.make_node("Concat", ["a", "b"], ["c"], axis=2), helper.make_node("Conv", ["c", "w3"], ["y"])]
    assert changed(graph(rows)) == []


def test_a_gate_is_crossed_and_reads_what_it_read() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "v2"], ["squeezed"]),
        helper.make_node("Sigmoid", ["squeezed"], ["gate"]),
        helper.make_node("Mul", ["a", "gate"], ["c"]),
        helper.make_node("Conv", ["c", "w3"], ["y"]),
    ]
    assert changed(graph(nodes)) == ["w1", "b1", "v2", "w3"]


def test_a_classifier_reads_pooled_channels_but_no_others() -> None:
    head = [helper.make_node("Flatten", ["pooled"], ["flat"]), helper.make_node("Gemm", ["flat", "g"], ["y"], transB=1)]
    pooled = [helper.make_node("Conv", ["x", "w1", "b1"], ["a"]), helper.make_node("GlobalAveragePool", ["a"], ["pooled"])]
    assert changed(graph([*pooled, *head])) == ["w1", "b1", "g"]
    rows = [pooled[0], helper.make_node("MaxPool", ["a"], ["pooled"], kernel_shape=[14, 14]), *head]
    assert changed(graph(rows)) == []  # one pixel as well, but not by its operator


def thousandfold(path: Path) -> Path:
    """A classifier whose channels differ a thousandfold, and count alike."""
    model = chain(groups=8)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    even = numpy_helper.to_array(stored["w2"]) / np.abs(numpy_helper.to_array(stored["w1"])).max((1, 2, 3)).reshape(-1, 1, 1, 1)
    stored["w2"].CopyFrom(numpy_helper.from_array(even, "w2"))
    made = [helper.make_node("GlobalAveragePool", ["y"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["logits"])]
    model.graph.node.extend(made)
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16]))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5]))
    onnx.save(model, path)
    return path


def test_where_channels_differ_a_thousandfold_it_is_kept(noise: Any, tmp_path: Path) -> None:
    """One scale for all channels of an activation leaves few codes to the small ones; here they count as much as the large ones."""
    prepared, images = prepare_graph(thousandfold(tmp_path / "float.onnx")), noise(40)
    plain, begun = (way(prepared, images, "portable", batch_size=8, threads=1) for way in (Baseline.seeing, Baseline.of))
    assert begun.equalizing and begun.equalizing.kept
    wanted, without, balanced = (answers(graph, images, 1) for graph in (prepared, plain.by_extremes, begun.by_extremes))
    assert sqnr_db(wanted, balanced) > sqnr_db(wanted, without) + 3


@pytest.mark.parametrize("part", ["fitting", "choosing", "reporting"])
def test_only_images_that_fit_say_how_far_channels_reach(noise: Any, tmp_path: Path, part: str) -> None:
    path = thousandfold(tmp_path / "float.onnx")
    x = np.concatenate([batch.x for batch in noise(40).batches(40)])
    before = quantize(path, Arrays(x), out=tmp_path / "a.onnx", tune_images=0)
    places = CalibrationParts.of(Arrays(np.arange(40, dtype=np.float32).reshape(-1, 1, 1, 1)))
    x[[int(value) for batch in getattr(places, part).batches(40) for value in batch.x.ravel()]] *= 1.5
    after = quantize(path, Arrays(x), out=tmp_path / "b.onnx", tune_images=0)
    first, second = before.trials[0], after.trials[0]
    assert first.name.startswith("layers equalized (") and first.kept
    assert ((first.name, first.sqnr_db) == (second.name, second.sqnr_db)) == (part != "fitting")


def test_a_real_graph_answers_as_before(shared: Path, noise: Any) -> None:
    model = prepare_graph(shared / "models" / "resnet20_cifar10.onnx")
    (batch,) = noise(4, side=32).batches(4)
    found = equalized(model, dict.fromkeys(name for node in model.graph.node for name in node.output), batch.x)
    assert found is not None
    before, after = (start(graph.SerializeToString(), optimize=True).run(None, {"input": batch.x})[0] for graph in (model, found))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
