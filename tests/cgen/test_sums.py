"""Adds in whole numbers: only where all CPUs agree, with the formula that onnxruntime's own kernel shows on every pair of codes."""

from __future__ import annotations

import platform

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.cgen.sums import Scaled, float_sums, fused_sums, in_whole_numbers, whole_sums

CODES = np.arange(256, dtype=np.uint8)


def scaled(scale: float, zero: int) -> Scaled:
    return Scaled(scale=np.float32(scale), zero=zero)


def kernel_sums(*parts: Scaled) -> NDArray[np.int64]:
    """What onnxruntime's QLinearAdd gives for each pair of codes, [256, 256]."""
    stored = {}
    for name, part in zip("abc", parts, strict=True):
        stored[f"{name}_scale"], stored[f"{name}_zero"] = np.array(part.scale), np.array(part.zero, np.uint8)
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c_scale", "c_zero"]
    node = helper.make_node("QLinearAdd", names, ["c"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [256, 256]) for name in "abc"]
    graph = helper.make_graph([node], "add", ends[:2], ends[2:], [numpy_helper.from_array(value, name) for name, value in stored.items()])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    first, second = np.meshgrid(CODES, CODES, indexing="ij")
    return np.asarray(session.run(None, {"a": first, "b": second})[0], np.int64)


def drawn(seed: int) -> tuple[Scaled, Scaled, Scaled]:
    rng = np.random.default_rng(seed)
    first, second, output = (scaled(rng.uniform(0.01, 0.05), int(rng.integers(0, 256))) for _ in range(3))
    return first, second, output


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="floats are used on x86")
@pytest.mark.parametrize("seed", range(12))
def test_one_of_the_two_formulas_is_the_kernels(seed: int) -> None:
    found = kernel_sums(*drawn(seed))
    assert any(np.array_equal(found, formula(*drawn(seed))) for formula in (float_sums, fused_sums))


def test_scales_with_which_cpus_differ_are_not_taken() -> None:
    unlike = [seed for seed in range(400) if not np.array_equal(float_sums(*drawn(seed)), fused_sums(*drawn(seed)))]
    assert unlike and all(in_whole_numbers(*drawn(seed)) is None for seed in unlike)


def test_exact_scales_are() -> None:
    parts = scaled(15 * 1007 / 2**14 * 0.02, 130), scaled(16 * 1007 / 2**14 * 0.02, 3), scaled(0.02, 17)
    found = in_whole_numbers(*parts)
    assert found is not None
    np.testing.assert_array_equal(whole_sums(*found), kernel_sums(*parts))
