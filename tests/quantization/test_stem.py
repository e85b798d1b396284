"""Which first layers stay in float, and that they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetl.quantization.engine import quantize
from edgetl.quantization.prepare import prepare
from edgetl.quantization.qdq import on_codes
from edgetl.quantization.search import Budget
from edgetl.quantization.stem import stem
from edgetl.settings import Target


def kinds(model: onnx.ModelProto, names: tuple[str, ...]) -> list[str]:
    return [node.op_type for node in model.graph.node if node.name in names]


def test_small_sums_from_the_input_on(small: Path) -> None:
    model = prepare(small)
    for target in get_args(Target):
        found = kinds(model, stem(model, target))
        assert found == (["Conv", "Relu", "Conv", "HardSwish"] if target in ("x86", "x86-avx2") else [])


def test_a_larger_first_layer_is_none(small: Path) -> None:
    model = prepare(small)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "stem.weight")
    weight.CopyFrom(numpy_helper.from_array(np.ones((8, 3, 4, 3), np.float32), "stem.weight"))
    assert stem(model, "x86") == ()


@pytest.mark.parametrize(("name", "expected"), [("mobilenet_v3_small_cifar64", 2), ("resnet20_cifar10", 1), ("squeezenet1_0_imagenet", 0)])
def test_real_networks(shared: Path, name: str, expected: int) -> None:
    model = prepare(shared / "models" / f"{name}.onnx")
    assert kinds(model, stem(model, "x86")).count("Conv") == expected


@pytest.mark.parametrize("budget", [None, Budget(min_agreement=1.0)])
def test_they_are_in_float_whatever_else_is(small: Path, noise: Any, tmp_path: Path, budget: Budget | None) -> None:
    records = {}
    for target in ("arm64", "x86"):
        out = tmp_path / f"{target}.onnx"
        records[target] = quantize(small, noise(40), target=target, out=out, tune_images=0, budget=budget)
        graph = onnx.load(out).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        first = next(node for node in graph.node if node.op_type == "Conv")
        assert (makers.get(first.input[0]) == "DequantizeLinear") == (target == "arm64")
        assert on_codes(onnx.load(out))
    assert records["x86"].stem and not records["arm64"].stem
    assert not {*records["x86"].floating} & {*records["x86"].stem}
