"""The network's own names: from PyTorch's modules to the file, the log and onnxruntime's profile, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.network_names import NetworkNames
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.search.search import Budget
from edgetl.runtime.kernels import kernels
from edgetl.runtime.loading import load_proto
from edgetl.runtime.session import open_session

LAYERS = {"stem (Conv)", "depth (Conv)", "point (Conv)", "head (Gemm)"}


def own(model: Path) -> NetworkNames:
    return NetworkNames.of(load_proto(model), prepare_graph(model))


def layers_of(model: Path) -> set[str]:
    """The own names of the layers, read from PyTorch's names of tensors: an oracle that shares nothing with the code."""
    nodes = [node for node in onnx.load(model).graph.node if node.op_type in ("Conv", "Gemm")]
    return {f"{node.input[1].rsplit('.', 1)[0]} ({node.op_type})" for node in nodes}


def test_a_layer_is_called_as_the_module_of_its_weight_and_what_has_no_weight_as_its_node(small: Path) -> None:
    names, graph = own(small), onnx.load(small).graph
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            wanted = f"{node.input[1].removesuffix('.weight')} ({node.op_type})"
            assert names(node.output[0]) == names(node.input[1]) == names(f"{node.input[1]}_quantized") == names(node.input[2]) == wanted
        else:
            assert names(node.output[0]) == f"{node.name or node.output[0]} ({node.op_type})"
    assert names("input") == "input" and names("no such name") == "no such name"


class Nested(torch.nn.Module):
    """Layers at several depths, as MobileNet and ResNet have them."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        block = nn.Module()
        block.conv = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()), nn.Conv2d(4, 4, 1))
        block.forward = lambda x: block.conv(x) + x  # type: ignore[method-assign]
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), block)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_a_traced_graph_is_called_as_its_module_too(tmp_path: Path) -> None:
    """PyTorch's older exporter merges BatchNorm and calls weights `onnx::Conv_31`; the oracle is `named_modules`."""
    network, file = Nested().eval(), tmp_path / "traced.onnx"
    try:
        torch.onnx.export(network, (torch.zeros(1, 3, 8, 8),), file, dynamo=False)
    except (TypeError, ValueError, ImportError, torch.onnx.errors.OnnxExporterError) as error:
        pytest.skip(f"this torch exports no traces: {error}")
    model = onnx.load(file)
    found = [own(file)(node.output[0]) for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    kinds = {torch.nn.Conv2d: "Conv", torch.nn.Linear: "Gemm"}
    assert found == [f"{name} ({kinds[type(part)]})" for name, part in network.named_modules() if type(part) in kinds]
    assert any("onnx::" in node.input[1] for node in model.graph.node if node.op_type == "Conv")


@pytest.mark.parametrize("name", ["first", "/Gemm", "scope/Gemm", "/scope/Relu", "/scope/Gemm_x", "/", "a.b/c"])
def test_a_layer_with_a_name_of_another_form_is_called_as_its_node(name: str) -> None:
    weight = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    values = [helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, ["n", 3]) for value in ("x", "y")]
    model = helper.make_model(helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"], name)], "g", values[:1], values[1:], [weight]))
    assert NetworkNames.of(model, model)("y") == f"{name} (Gemm)"


def test_batchnorm_that_is_merged_into_a_layer_leaves_it_its_name(build_small: Any) -> None:
    model = build_small(batch_norm=True)
    prepared = prepare_graph(model)
    names = NetworkNames.of(load_proto(model), prepared)
    first = next(node for node in prepared.graph.node if node.op_type == "Conv")
    assert names.nodes[first.name] == names(first.output[0]) == "stem (Conv)"


def test_two_layers_that_share_a_weight_are_told_apart(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "shared.weight")
    nodes = [helper.make_node("Gemm", ["x", "shared.weight"], ["h"]), helper.make_node("Gemm", ["h", "shared.weight"], ["y"])]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weight]))
    names = NetworkNames.of(model, model)
    assert (names("h"), names("y")) == ("shared (Gemm)", "shared (Gemm), use 2")


@pytest.mark.parametrize("target", ["portable", "x86"])
def test_the_log_knows_every_name_in_the_file_and_profiles_are_in_the_networks_own(
    small: Path, noise: Any, tmp_path: Path, target: Any
) -> None:
    out = tmp_path / "int8.onnx"
    record = quantize(small, noise(24), target=target, out=out, tune_images=0)
    graph = onnx.load(out).graph
    assert {name for node in graph.node for name in (*node.output, node.name) if name} == set(record.names)
    matrices = {record.names[node.output[0]] for node in graph.node if node.op_type in ("Conv", "Gemm")}
    assert matrices == layers_of(small)
    assert "edgetl" not in json.dumps([*record.names.values()])
    ran = kernels(out, runs=2, names=record.names)
    assert layers_of(small) == {kernel.name for kernel in ran if "Conv" in kernel.kind or "Gemm" in kernel.kind}
    assert [kernel.kind for kernel in ran] == [kernel.kind for kernel in kernels(out, runs=2)]
    log = json.dumps({key: value for key, value in asdict(record).items() if key not in ("names", "trials")})
    assert "_quantized" not in log and ".weight" not in log and "edgetl_" not in log


@pytest.mark.parametrize("target", ["portable", "x86", "arm64"])
@pytest.mark.parametrize("budget", [None, Budget(min_agreement=1.0)])
def test_long_names_change_no_bit_of_the_answers(small: Path, noise: Any, tmp_path: Path, target: Any, budget: Budget | None) -> None:
    records = {}
    for keep in (False, True):
        out, memory = tmp_path / f"{keep}.onnx", tmp_path / "search.json"
        records[keep] = quantize(small, noise(24), target=target, out=out, tune_images=32, budget=budget, memory=memory, keep_names=keep)
    (batch,) = noise(60, seed=3).batches(60)
    short, long = (open_session(tmp_path / f"{keep}.onnx").run(batch.x) for keep in (False, True))
    np.testing.assert_array_equal(short, long)
    in_file = {node.name for node in onnx.load(tmp_path / "True.onnx").graph.node}
    assert {node.name for node in prepare_graph(small).graph.node if node.op_type == "Gemm"} <= in_file and "" not in in_file
    assert [*records[False].names.values()] != [] and records[False].floating == records[True].floating
    assert (tmp_path / "False.onnx").stat().st_size < (tmp_path / "True.onnx").stat().st_size
