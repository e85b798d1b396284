"""A target whose CPU does not saturate is judged by exact sums, on whatever CPU; where this one is exact, by the file itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetl.quantization.candidates import unsaturated as room
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.candidates.trials import answers
from edgetl.quantization.candidates.unsaturated import graph_to_judge, judged_outputs, saturation_notes, unsaturated
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.index import GraphIndex
from edgetl.runtime.cpu import saturates_here
from edgetl.runtime.engine import start
from edgetl.runtime.kernels import kernels
from edgetl.runtime.session import open_graph, open_session

exact_here = pytest.mark.skipif(saturates_here(), reason="needs a CPU whose int8 sums do not saturate")


def run(model: onnx.ModelProto, x: Any, **options: Any) -> Any:
    return start(model.SerializeToString(), **options).run(None, {"x": x})[0]


def test_the_exact_form_answers_as_sums_in_float32_do(layer: Any) -> None:
    """All sums are below 2^24, so that those are exact; fused and unfused kernels round to codes within one step."""
    found = unsaturated(layer.model)
    assert np.abs(run(found, layer.x) - run(layer.model, layer.x, optimize=False)).max() < 1.01 * layer.step
    assert unsaturated(layer.limited) is layer.limited


@exact_here
def test_and_bit_for_bit_as_the_graph_itself_where_nothing_saturates(layer: Any) -> None:
    np.testing.assert_array_equal(run(unsaturated(layer.model), layer.x), run(layer.model, layer.x))


def test_weights_are_the_same_numbers_whatever_their_zero_points(one_layer: Callable[..., onnx.ModelProto]) -> None:
    model = one_layer("Gemm", (19, 37), {"transB": 1})
    for tensor in model.graph.initializer:
        if tensor.name == "wz":
            tensor.CopyFrom(numpy_helper.from_array(np.arange(-9, 10).astype(np.int8), "wz"))
    found = unsaturated(model)
    (dequantize,) = (node for node in found.graph.node if node.output[0] == "wd")
    before, after = GraphIndex(model).constants, GraphIndex(found).constants
    codes, _, zeros = (after[name].astype(int) for name in dequantize.input)
    assert codes.min() >= 0 and not saturating(found)
    np.testing.assert_array_equal(codes - zeros[:, None], before["w_quantized"].astype(int) - before["wz"][:, None])


@pytest.mark.parametrize("target", ["x86", "arm64", "portable"])
def test_whole_networks_keep_their_kernels_and_their_bits(shared: Path, noise: Any, tmp_path: Path, target: Any) -> None:
    out = tmp_path / "int8.onnx"
    quantize(shared / "models" / "resnet20_cifar10.onnx", noise(8, side=32), target=target, out=out, tune_images=0)
    model = onnx.load(out)
    found = unsaturated(model)
    assert (found is model) is (target == "portable")
    onnx.save(found, tmp_path / "exact.onnx")
    ran, wanted = ([(kernel.kind, kernel.on) for kernel in kernels(path, runs=1)] for path in (tmp_path / "exact.onnx", out))
    assert ran == wanted
    if not saturates_here():
        (batch,) = noise(8, side=32, seed=3).batches(8)
        np.testing.assert_array_equal(open_graph(found).run(batch.x), open_session(out).run(batch.x))


def test_where_this_cpu_is_exact_the_file_itself_is_judged(layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other way round; no file is told of elsewhere."""
    monkeypatch.setattr(room, "saturates_here", lambda: False)
    assert graph_to_judge(layer.model) is layer.model
    onnx.save(layer.model, tmp_path / "a.onnx")
    assert saturation_notes({"a": tmp_path / "a.onnx"}) == ()
    monkeypatch.setattr(room, "saturates_here", lambda: True)
    assert (graph_to_judge(layer.model) is layer.model) is (layer.name == "depthwise")
    assert len(saturation_notes({"a": tmp_path / "a.onnx"})) == (layer.name != "depthwise")


def test_what_judges_a_target_gives_the_same_bits_on_every_cpu(small: Path, noise: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Trials, budgets and decisions ask these two; here as on a CPU that saturates, against one that does not."""
    out, source = tmp_path / "int8.onnx", noise(30, seed=4)
    quantize(small, noise(40), target="arm64", out=out, tune_images=64)
    wanted = answers(unsaturated(onnx.load(out)), source, 1)
    for saturated in (True, saturates_here()):
        monkeypatch.setattr(room, "saturates_here", lambda saturated=saturated: saturated)
        np.testing.assert_array_equal(answers(onnx.load(out), source, 1), wanted)
        np.testing.assert_array_equal(judged_outputs(out, source, batch_size=4)[0], wanted)


def test_a_note_says_whose_arithmetic_was_used(small: Path, noise: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "saturates_here", lambda: True)
    monkeypatch.setattr(room, "cpu_name", lambda: "Some CPU")
    out = tmp_path / "int8.onnx"
    quantize(small, noise(40), target="arm64", out=out, tune_images=0)
    (note,) = saturation_notes({"onnx_int8": out, "onnx_float": small})
    assert note.startswith("onnx_int8: on this CPU (Some CPU) sums of ") and "judged by exact arithmetic, as arm64 answers" in note
    foreign = onnx.load(out)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    (note,) = saturation_notes({"onnx_int8": tmp_path / "foreign.onnx"})
    assert "so it may answer otherwise on other CPUs" in note
    quantize(small, noise(40), target="portable", out=out, tune_images=0)
    assert saturation_notes({"onnx_int8": out}) == ()


@pytest.mark.slow
def test_an_emulated_cpu_without_vnni_gives_the_exact_form_the_same_bits(every_layer: list[Any], haswell: Any) -> None:
    made = [unsaturated(layer.model) for layer in every_layer]
    for model, layer, found in zip(
        made, every_layer, haswell([(m, each.x) for m, each in zip(made, every_layer, strict=True)]), strict=True
    ):
        np.testing.assert_array_equal(found, run(model, layer.x), layer.name)


@pytest.mark.slow
def test_onnxruntime_without_cpuid_answers_as_the_emulated_cpu_does(every_layer: list[Any], haswell: Any, without_vnni: Any) -> None:
    """Which proves scripts/without_vnni.py right: on what saturates, bit for bit, and otherwise than exactly."""
    cases = [(layer.model, layer.x) for layer in every_layer]
    for layer, found, wanted in zip(every_layer, without_vnni(cases), haswell(cases), strict=True):
        np.testing.assert_array_equal(found, wanted, layer.name)
        assert np.array_equal(found, run(unsaturated(layer.model), layer.x)) is (layer.name == "depthwise")
