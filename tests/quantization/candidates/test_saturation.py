"""No target that stands for CPUs without VNNI gets weights that saturate there; the rule was right on an emulated one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.saturation import PAIR_SUM_MAX, pairs_of, saturating, unsaturated_codes
from edgetl.quantization.candidates.weights import channel_codes
from edgetl.quantization.engine import quantize
from edgetl.quantization.precision.targets import saturates
from edgetl.runtime.engine import start
from edgetl.runtime.session import open_session
from edgetl.settings import Target


def test_limited_weights_keep_every_pair_within_sixteen_bits(layer: Any) -> None:
    assert bool(saturating(layer.model)) == (layer.name != "depthwise")
    assert not saturating(layer.limited)


def test_the_limit_is_that_of_sixteen_bits() -> None:
    assert 255 * PAIR_SUM_MAX <= 2**15 - 1 < 255 * (PAIR_SUM_MAX + 1)


def test_as_little_as_possible_is_taken_from_a_pair() -> None:
    """From pairs of one sign only, half from each, and no sign turns."""
    from edgetl.quantization.candidates.saturation import Pairs

    codes = np.array([[127, 127], [-127, -100], [127, -127], [64, 64], [1, 127], [2, 127]], np.float32)
    at = np.arange(12).reshape(6, 2)
    found = unsaturated_codes(codes, Pairs(at[:, 0], at[:, 1]))
    np.testing.assert_array_equal(found, [[64, 64], [-77, -51], [127, -127], [64, 64], [1, 127], [1, 127]])


def test_a_fitted_scale_is_no_worse_than_seven_bits(one_layer: Callable[..., onnx.ModelProto]) -> None:
    values = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    largest = np.abs(values).max(axis=(1, 2, 3))
    pairs = pairs_of(one_layer("Conv", values.shape, {}))["w_quantized"]
    codes, scale = channel_codes(values, largest / 127, 0, pairs)
    seven = np.clip(np.rint(values / (largest / 64)[:, None, None, None]), -64, 64) * (largest / 64)[:, None, None, None]
    ours = codes * scale[:, None, None, None]
    assert np.abs(codes.astype(int)).max() > 64
    assert sqnr_db(values, ours) > sqnr_db(values, seven) + 1.5


@pytest.mark.parametrize("target", get_args(Target))
def test_only_what_can_saturate_is_limited(small: Path, noise: Any, tmp_path: Path, target: Target) -> None:
    record = quantize(small, noise(40), target=target, out=tmp_path / "int8.onnx", tune_images=64)
    written = onnx.load(tmp_path / "int8.onnx")
    assert saturates(target) == (target in ("portable", "web", "x86-avx2"))
    assert not (saturates(target) and saturating(written))
    assert bool(record.limited) == saturates(target)
    weights = [numpy_helper.to_array(tensor) for tensor in written.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) > 64


@pytest.mark.slow
def test_limited_weights_do_not_saturate_without_vnni_and_unlimited_ones_do(every_layer: list[Any], haswell: Any) -> None:
    cases = [(layer, model) for layer in every_layer for model in (layer.limited, layer.model)]
    for (layer, model), found in zip(cases, haswell([(model, layer.x) for layer, model in cases]), strict=True):
        exact = start(model.SerializeToString(), optimize=False).run(None, {"x": layer.x})[0]  # sums in float32
        most = np.abs(found - exact).max() / layer.step
        assert most < 1.5 if model is layer.limited or layer.name == "depthwise" else most > 5, layer.name


@pytest.mark.slow
def test_portable_answers_the_same_bits_without_vnni(build_small: Callable[..., Path], noise: Any, haswell: Any, tmp_path: Path) -> None:
    """The small network is all integer but its hard-swish, hard-sigmoid and logits, which are the same float kernels."""
    quantize(build_small(batch=8), noise(60), target="portable", out=tmp_path / "int8.onnx", tune_images=200)
    (batch,) = noise(8, seed=5).batches(8)
    here = open_session(tmp_path / "int8.onnx").run(batch.x)
    (found,) = haswell([(onnx.load(tmp_path / "int8.onnx"), batch.x)])
    np.testing.assert_allclose(found, here, rtol=0, atol=1e-5)
