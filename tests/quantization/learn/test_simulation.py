"""The engine's graphs in torch answer as onnxruntime does, and learning helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.qdq import with_float_outputs, write_qdq
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.graph.layers import UnknownOperator
from edgetl.quantization.learn.simulation import Simulation
from edgetl.quantization.learn.tune import BATCH_IMAGES, LEAST_STEPS, batch_for, loss_of, same_values, tune, usual_squares
from edgetl.quantization.observe.effort import images_for
from edgetl.quantization.observe.ranges import extremes
from edgetl.quantization.observe.statistics import observe, tensors_beside
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.engine import start

ONE = np.array([1], np.int64)


def answers(model: onnx.ModelProto, x: NDArray[np.float32], *, optimize: bool = True) -> NDArray[np.float32]:
    result: NDArray[np.float32] = start(model.SerializeToString(), optimize=optimize).run(None, {model.graph.input[0].name: x})[0]
    return result


def simulated(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        found: NDArray[np.float32] = Simulation(model)(torch.from_numpy(x))[0].numpy()
    return found


def one_operator(kind: str, shape: Sequence[int], stored: dict[str, Any], outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(kind, ["x", *stored], names, **attributes)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph([node], "one", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], values, tensors)
    opset = 18 if kind == "AveragePool" else 20  # from 19 on onnxruntime up to 1.23 counts uneven pads wrongly
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def noise_of(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any], dict[str, Any]]] = {
    "conv": ("Conv", (2, 4, 9, 8), {"w": noise_of(6, 2, 3, 3), "b": noise_of(6)}, {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    "conv, uneven pads": ("Conv", (2, 4, 9, 8), {"w": noise_of(6, 4, 3, 3)}, {"pads": [0, 1, 2, 0], "dilations": [2, 1]}),
    "conv, same upper": ("Conv", (2, 4, 9, 8), {"w": noise_of(6, 4, 3, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv, same lower": ("Conv", (2, 4, 9, 8), {"w": noise_of(6, 4, 2, 2)}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "gemm": ("Gemm", (3, 5), {"w": noise_of(7, 5), "b": noise_of(7)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "matmul": ("MatMul", (2, 3, 5), {"w": noise_of(5, 4)}, {}),
    "max pool": ("MaxPool", (2, 3, 9, 9), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max pool, pads": ("MaxPool", (2, 3, 9, 9), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "average pool": ("AveragePool", (2, 3, 9, 9), {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average pool, pads count": ("AveragePool", (2, 3, 9, 9), {}, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1}),
    "clip": ("Clip", (2, 3), {"low": np.float32(-0.5), "high": np.float32(0.5)}, {}),
    "pad": ("Pad", (2, 3, 4, 4), {"pads": np.array([0, 1, 0, 2, 0, 3, 1, 0], np.int64), "v": np.float32(0.7)}, {}),
    "slice": (
        "Slice",
        (2, 3, 8, 8),
        {"s": np.array([1, -6]), "e": np.array([9, -1]), "a": np.array([2, 3]), "t": np.array([2, 1])},
        {},
    ),
    "split": ("Split", (2, 6, 3), {"s": np.array([1, 5])}, {"axis": 1}),
    "split, equal": ("Split", (2, 6, 3), {}, {"axis": 1, "num_outputs": 2}),
    "reduce mean": ("ReduceMean", (2, 3, 4, 4), {"a": np.array([-1, 2])}, {"keepdims": 0}),
    "layer norm": ("LayerNormalization", (2, 3, 8), {"w": noise_of(8), "b": noise_of(8)}, {"axis": -1}),
    "batch norm": (
        "BatchNormalization",
        (2, 3, 4, 4),
        {"w": noise_of(3), "b": noise_of(3), "m": noise_of(3), "v": noise_of(3) ** 2 + 1},
        {},
    ),
    "gather": ("Gather", (2, 5, 4), {"i": np.array([[0, 3], [4, 1]])}, {"axis": 1}),
    "reshape": ("Reshape", (2, 3, 4), {"s": np.array([0, -1])}, {}),
    "squeeze": ("Squeeze", (2, 1, 4, 1), {"a": np.array([1, -1])}, {}),
    "unsqueeze": ("Unsqueeze", (2, 4), {"a": np.array([0, -1])}, {}),
    "transpose": ("Transpose", (2, 3, 4), {}, {"perm": [2, 0, 1]}),
    "expand": ("Expand", (2, 1, 4), {"s": np.array([3, 1])}, {}),
    "gelu": ("Gelu", (2, 9), {}, {"approximate": "tanh"}),
    **{
        kind: (kind, (3, 17), {}, {})
        for kind in ("Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Sigmoid", "Softmax", "Tanh")
    },
    "hard sigmoid of Keras": ("HardSigmoid", (3, 17), {}, {"alpha": 1 / 6, "beta": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnxruntime_gives(name: str) -> None:
    kind, shape, stored, attributes = CASES[name]
    outputs = 2 if kind == "Split" else 1
    model = one_operator(kind, shape, stored, outputs, **attributes)
    x = noise_of(*shape)
    np.testing.assert_allclose(simulated(model, x), answers(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"opset": 11, "batch_norm": True}, {"keepdims": 1}])
def test_a_float_graph_answers_as_under_onnxruntime(build_small: Callable[..., Path], noise: Any, options: dict[str, Any]) -> None:
    (batch,) = noise(20).batches(20)
    model = prepare_graph(build_small(**options))
    np.testing.assert_allclose(simulated(model, batch.x), answers(model, batch.x), rtol=1e-4, atol=1e-5)


def test_a_quantized_graph_answers_as_under_onnxruntime(small: Path, noise: Any) -> None:
    """Sums in another order may tip a rounding here and there: far less than what int8 itself costs."""
    prepared = prepare_graph(small)
    seen = observe(prepared, tensors_beside(GraphIndex(prepared), INT8_OPS), noise(8), batch_size=8)
    graph = with_float_outputs(write_qdq(prepared, {name: extremes(found) for name, found in seen.items()}))
    (batch,) = noise(50, seed=1).batches(50)
    wanted, found, exact = answers(graph, batch.x, optimize=False), simulated(graph, batch.x), answers(prepared, batch.x)
    assert sqnr_db(wanted, found) > sqnr_db(exact, wanted) + 10


def test_real_graphs_answer_as_under_onnxruntime(shared: Path, noise: Any) -> None:
    for name, side in (("resnet20_cifar10", 32), ("mobilenet_v3_small_cifar64", 64)):
        model = prepare_graph(shared / "models" / f"{name}.onnx")
        (batch,) = noise(4, side=side).batches(4)
        assert sqnr_db(answers(model, batch.x), simulated(model, batch.x)) > 80


def test_an_operator_without_a_gradient_is_named() -> None:
    with pytest.raises(UnknownOperator, match="Selu"):
        Simulation(one_operator("Selu", (2, 3), {}))


# tune


def test_tuning_brings_int8_closer_to_float(small: Path, noise: Any) -> None:
    start_from = Baseline.of(prepare_graph(small), noise(60), "portable", batch_size=32, threads=1)
    before = start_from.by_extremes
    after = tune(start_from.model, before, noise(60), pairs=start_from.pairs, images=1600)
    (batch,) = noise(300, seed=9).batches(300)
    wanted, *found = (answers(model, batch.x) for model in (start_from.model, before, after))
    assert sqnr_db(wanted, found[1]) > sqnr_db(wanted, found[0]) + 1


@pytest.mark.parametrize(("count", "side"), [(205, 64), (160, 224), (40, 224), (160, 512)])
def test_large_photos_and_few_ones_are_tuned_on_in_as_many_steps(count: int, side: int) -> None:
    images = images_for(count, side * side)
    size = batch_for(images)
    assert 1 <= size <= BATCH_IMAGES and images // size >= LEAST_STEPS


def test_how_a_batch_is_cut_is_no_part_of_its_loss(small: Path, noise: Any) -> None:
    """Each photo alone, for memory's sake: of one whose logits are all near 0, the relative error alone would be all that counts."""
    start_from = Baseline.of(prepare_graph(small), noise(40), "portable", batch_size=32, threads=1)
    teacher, student = Simulation(start_from.model), Simulation(start_from.by_extremes)
    (batch,) = noise(8, seed=9).batches(8)
    x = torch.from_numpy(batch.x * np.array([1e-3] + 7 * [1], np.float32)[:, None, None, None])
    alike = same_values(start_from.model, start_from.by_extremes)
    (others,) = noise(41).batches(41)
    usual = usual_squares(teacher, torch.from_numpy(others.x), alike)
    logits = answers(start_from.model, others.x)
    assert alike and usual[""] == pytest.approx(np.median(np.square(logits).sum(1)), rel=1e-4)
    whole, *alone = (loss_of(teacher, student, part, alike, usual).item() for part in (x, *torch.split(x, 1)))
    assert whole == pytest.approx(np.mean(alone), rel=1e-4) and alone[0] < 100 * whole


def test_values_that_only_flat_operators_read_need_not_be_right(shared: Path, noise: Any) -> None:
    """What a hard-swish reads has codes from -3 on only; below, their errors mean nothing."""
    model = prepare_graph(shared / "models" / "mobilenet_v3_small_cifar64.onnx")
    start_from = Baseline.of(model, noise(16, side=64), "x86", batch_size=16, threads=1)
    flat = {name for node in start_from.model.graph.node if node.op_type in ("HardSigmoid", "HardSwish") for name in node.input}
    assert len(flat) > 20 and len(alike := same_values(start_from.model, start_from.by_extremes)) > 5
    assert not flat & {*alike}


def test_tuning_changes_numbers_and_nothing_else(small: Path, noise: Any, tmp_path: Path) -> None:
    for name, images in (("plain", 0), ("tuned", 320)):
        quantize(small, noise(60), target="portable", out=tmp_path / name, tune_images=images)
    plain, tuned = onnx.load(tmp_path / "plain"), onnx.load(tmp_path / "tuned")
    assert [node.op_type for node in plain.graph.node] == [node.op_type for node in tuned.graph.node]
    assert not saturating(tuned)


def test_a_graph_without_gradients_is_quantized_without_them(small: Path, noise: Any, tmp_path: Path) -> None:
    model = onnx.load(small)
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Selu"
    onnx.save(model, tmp_path / "selu.onnx")
    record = quantize(tmp_path / "selu.onnx", noise(60), out=tmp_path / "int8.onnx", tune_images=32)
    assert record.trials[-1].why_not == "no gradient of the operator Selu here" and not record.trials[-1].kept


def test_a_handful_of_images_is_not_tuned_on_unless_asked_for(small: Path, noise: Any, tmp_path: Path) -> None:
    trial = quantize(small, noise(20), out=tmp_path / "int8.onnx").trials[-1]
    assert trial.why_not == "fewer than 32 calibration images to fit on"
    assert quantize(small, noise(20), out=tmp_path / "int8.onnx", tune_images=16).trials[-1].why_not is None


def test_what_has_little_noise_is_not_tuned_unless_asked_for(small: Path, noise: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for quiet, wanted, why in ((0.0, None, "dB already"), (0.0, 32, "None"), (200.0, None, "None")):
        monkeypatch.setattr("edgetl.quantization.learn.steps.QUIET_DB", quiet)
        record = quantize(small, noise(40), out=tmp_path / "int8.onnx", tune_images=wanted)
        assert why in str(record.trials[-1].why_not)
        assert record.noise


def test_what_does_not_help_is_not_kept(small: Path, noise: Any, tmp_path: Path) -> None:
    """The last trial that was kept is the best of all."""
    trials = quantize(small, noise(30), out=tmp_path / "int8.onnx", tune_images=32).trials
    found = [trial.sqnr_db for trial in trials if trial.sqnr_db is not None]
    kept = [trial.sqnr_db for trial in trials if trial.kept]
    assert kept[-1] == max(found) and kept == sorted(kept, key=float)  # type: ignore[arg-type]
