"""Laws of legal forms: whatever a file names its values, and however it writes a layer, it is quantized, or refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.core.errors import InputError
from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.session import open_session

RNG = np.random.default_rng(0)
NAMES = {"x": "x", "w": "w", "a": "a", "r": "r", "p": "p", "f": "f", "v": "v", "logits": "logits"}
WRITERS = ("scale", "zero_point", "quantized", "QuantizeLinear", "QuantizeLinear_Output", "QuantizeLinear_Input", "DequantizeLinear_Output")


def net(
    *,
    names: dict[str, str] | None = None,
    gemm: dict[str, Any] | None = None,
    bias: NDArray[Any] | None = None,
    bounds: tuple[int, ...] = (),
    weights: dict[str, NDArray[Any]] | None = None,
    batch: int | str = "n",
) -> onnx.ModelProto:
    """Conv, Clip, mean, Gemm: 16 px in, 5 logits out."""
    n = NAMES | (names or {})
    rng = np.random.default_rng(0)
    stored = {
        n["w"]: rng.standard_normal((8, 3, 3, 3)) / 5, n["v"]: rng.standard_normal((8, 5)), "c": rng.standard_normal(8) / 5,
        "low": np.zeros(bounds), "high": np.full(bounds, 6.0),
    }  # fmt: skip
    stored |= {n.get(name, name): values for name, values in (weights or {}).items()}
    if bias is not None:
        stored["bias"] = bias
    nodes = [
        helper.make_node("Conv", [n["x"], n["w"], "c"], [n["a"]], name=n.get("conv", "conv")),
        helper.make_node("Clip", [n["a"], "low", "high"], [n["r"]], name=n.get("clip", "clip")),
        helper.make_node("GlobalAveragePool", [n["r"]], [n["p"]]),
        helper.make_node("Flatten", [n["p"]], [n["f"]]),
        helper.make_node("Gemm", [n["f"], n["v"], *(["bias"] if bias is not None else [])], [n["logits"]], name="gemm", **(gemm or {})),
    ]
    given, made = (
        helper.make_tensor_value_info(n[name], TensorProto.FLOAT, [batch, *shape]) for name, shape in (("x", (3, 16, 16)), ("logits", (5,)))
    )
    tensors = [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in stored.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], [made], tensors), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def parity(model: onnx.ModelProto, folder: Path, noise: Any, target: Any = "portable") -> float:
    """Quantize without a warning; dB on other images."""
    onnx.save(model, folder / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        quantize(folder / "m.onnx", noise(8), target=target, out=folder / "q.onnx", tune_images=0)
    (batch,) = noise(20, seed=1).batches(20)
    before, after = (open_session(folder / name) for name in ("m.onnx", "q.onnx"))
    assert (before.input_name, before.output_name) == (after.input_name, after.output_name)
    return sqnr_db(before.run(batch.x), after.run(batch.x))


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("of", ["x", "w", "r", "v", "logits"])
def test_a_value_may_be_called_as_the_writer_would(noise: Any, tmp_path: Path, suffix: str, of: str) -> None:
    other = "a" if of != "r" else "p"
    assert parity(net(names={other: f"{of}_{suffix}", "conv": f"{of}_{suffix}", "clip": f"{of}_DequantizeLinear"}), tmp_path, noise) > 22


@pytest.mark.parametrize(
    "names",
    [
        {"logits": "x_DequantizeLinear_Output"},
        {"x": "logits_QuantizeLinear_Input"},
        {"x": "edgetl_pixels", "conv": "edgetl_pixels_map", "v": "edgetl_pixels_offset"},
        {"logits": "edgetl_whole_0", "r": "edgetl_whole", "clip": "edgetl_whole_1"},
        {"x": "a", "a": "b", "logits": "c_", "f": "edgetl_seen_0_low"},
    ],
)
def test_inputs_and_outputs_keep_their_names_whatever_these_are(noise: Any, tmp_path: Path, names: dict[str, str]) -> None:
    for target in ("portable", "x86"):
        assert parity(net(names=names), tmp_path, noise, target) > 22


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 5), (1, 1)])
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0}, {"alpha": -1.0, "beta": 0.0}])
def test_gemm_in_every_form(noise: Any, tmp_path: Path, shape: tuple[int, ...], attributes: dict[str, float]) -> None:
    assert parity(net(gemm=attributes, bias=np.full(shape, 0.7)), tmp_path, noise) > 22


def test_gemm_with_rows_of_a_fixed_batch(noise: Any, tmp_path: Path) -> None:
    bias = RNG.standard_normal((2, 5))
    assert parity(net(bias=bias, batch=2), tmp_path, noise) > 22
    assert sum(node.op_type == "Add" for node in prepare_graph(tmp_path / "m.onnx").graph.node) == 1


@pytest.mark.parametrize("shape", [(), (1,)])
def test_bounds_of_clip_are_scalars_or_one_number(noise: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert parity(net(bounds=shape), tmp_path, noise) > 22


@pytest.mark.parametrize("value", [0.0, 1e-42, 1e-37, 1e-25])
def test_channels_without_weights_keep_their_biases(noise: Any, tmp_path: Path, value: float) -> None:
    """Half of the first layer's channels are dead, and all of the second layer but its biases."""
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)) / 5
    weight[::2] = value
    assert parity(net(weights={"w": weight}), tmp_path, noise) > 22
    dead = net(weights={"v": np.full((8, 5), value)}, bias=np.linspace(-0.4, 0.3, 5))
    assert parity(dead, tmp_path, noise) > 40


@pytest.mark.parametrize(("value", "found"), [(np.nan, "NaN"), (np.inf, "to inf"), (1e30, r"to 1e\+30")])
@pytest.mark.parametrize(("name", "kind"), [("w", "Conv conv"), ("v", "Gemm gemm"), ("c", "Conv conv")])
def test_weights_that_no_int8_can_hold_are_named(noise: Any, tmp_path: Path, value: float, found: str, name: str, kind: str) -> None:
    model = net()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[1] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=rf"expected finite weights up to 1e\+18 in m.onnx, .*\n  {name} of {kind}: .*{found}"):
        quantize(tmp_path / "m.onnx", noise(8), out=tmp_path / "q.onnx", tune_images=0)
    assert not (tmp_path / "q.onnx").exists()


def test_one_weight_read_along_both_axes_is_as_good_as_copies_of_it(noise: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((8, 8)) * np.exp(rng.standard_normal((8, 1)))
    first = rng.standard_normal((8, 3, 1, 1))

    def model(*names: str) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["a"]),
            helper.make_node("GlobalAveragePool", ["a"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", names[0]], ["g"], transB=1),
            helper.make_node("MatMul", ["f", names[1]], ["h"]),
            helper.make_node("Add", ["h", names[2]], ["i"]),
            helper.make_node("Add", ["g", "i"], ["logits"]),
        ]
        given, made = (helper.make_tensor_value_info(name, 1, [8, *shape]) for name, shape in (("x", (3, 16, 16)), ("logits", (8,))))
        stored = {"w": first, **dict.fromkeys(names, shared)}
        tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()]
        graph = helper.make_graph(nodes, "g", [given], [made], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    assert parity(model("s", "s", "s"), tmp_path, noise) == pytest.approx(parity(model("s", "t", "u"), tmp_path, noise), abs=0.1)


@pytest.mark.parametrize("inner", ["a", "r", "c"])
def test_what_lies_on_the_way_may_be_an_output_too(noise: Any, tmp_path: Path, inner: str) -> None:
    model = net()
    shapes = {"a": ["n", 8, 14, 14], "r": ["n", 8, 14, 14], "c": [8]}
    model.graph.output.append(helper.make_tensor_value_info(inner, TensorProto.FLOAT, shapes[inner]))
    for target in ("portable", "x86"):
        assert parity(model, tmp_path, noise, target) > 22
    assert [value.name for value in onnx.load(tmp_path / "q.onnx").graph.output] == [value.name for value in model.graph.output]


def test_one_constant_as_weight_and_bias_of_a_scaled_gemm(noise: Any, tmp_path: Path) -> None:
    model = net(gemm={"alpha": 0.5, "beta": 0.25}, batch=8)
    model.graph.node[-1].input.append("v")
    assert parity(model, tmp_path, noise) > 22
