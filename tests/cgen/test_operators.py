"""Each operator in C gives the bits that onnxruntime's kernel gives, for forms and numbers drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgetl.cgen.read import read_plan
from edgetl.core.errors import InputError

Make = Callable[..., Any]


def logits(graph: Any, value: str, zero: int | None = None) -> str:
    """The codes of a value as they are: one logit each."""
    return str(graph.node("Flatten", graph.coded(value, zero=zero)))


@pytest.mark.parametrize("seed", range(8))
def test_conv_of_any_window(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed, size=11, color="gray" if seed % 3 == 0 else "RGB")
    draw = g.rng.integers
    x = g.coded(g.conv(g.image(), 8, pads=[1, 1, 1, 1]), scale=0.02, zero=int(draw(0, 128)))
    group = int(draw(0, 3)) and 4
    kernel = (int(draw(1, 4)), int(draw(1, 6)))
    pads = [int(draw(0, kernel[axis % 2])) for axis in range(4)]
    form = {"strides": [int(draw(1, 3)), int(draw(1, 4))], "pads": pads, "dilations": [1 + seed % 2, 1]}
    agree(g, logits(g, g.conv(x, 12, kernel, group or 1, **form)))


@pytest.mark.parametrize("seed", range(4))
def test_depthwise_conv(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed)
    x = g.coded(g.conv(g.image(), 6), scale=0.02)
    agree(g, logits(g, g.conv(x, 6, (3, 3), 6, pads=[seed % 2, 1, 1, 0], strides=[1 + seed % 2, 1])))


def test_sums_beyond_32_bits_wrap_as_onnxruntimes_do(graph: Make, agree: Make) -> None:
    """Channels that are never on get biases of -2^31, from which a product may still be taken."""
    g = graph(5, size=8)
    x = g.conv(g.coded(g.conv(g.image(), 5), scale=0.02, zero=70), 6)
    bias = next(tensor for tensor in reversed(g.constants) if tensor.data_type == onnx.TensorProto.INT32)
    least = numpy_helper.to_array(bias).copy()
    least[:3] = -(2**31)
    bias.CopyFrom(numpy_helper.from_array(least, bias.name))
    agree(g, logits(g, x, zero=9))


@pytest.mark.parametrize("seed", range(4))
def test_max_pool(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed, size=9 + seed)
    x = g.coded(g.conv(g.image(), 5), scale=0.02)
    pool = g.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, seed % 2], ceil_mode=seed % 2)
    name = g.nodes[-2].input[1:]  # onnxruntime pools codes where scales are the same
    coded = g.node("QuantizeLinear", pool, *name)
    agree(g, g.node("Flatten", g.node("DequantizeLinear", coded, *name)))


@pytest.mark.parametrize("seed", range(8))
def test_average_pool_of_a_part_and_of_all(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed, size=10)
    x = g.coded(g.conv(g.image(), 16), scale=0.02, zero=(0, 90)[seed % 2])
    form = {"kernel_shape": [8, 8]} if seed < 4 else {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": seed // 2 % 2}
    same = {"scale": 0.02, "zero": (0, 90)[seed % 2]} if seed % 4 < 2 else {"scale": 0.013, "zero": 40}
    pooled = g.coded(g.node("AveragePool", x, strides=[2, 2], **form), **same)
    agree(g, g.node("Flatten", pooled), images=20)


@pytest.mark.parametrize("seed", range(4))
def test_global_average_pool(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed, size=10)
    x = g.coded(g.conv(g.image(), 16), scale=0.02)
    pooled = g.coded(g.node("GlobalAveragePool", x), **({"scale": 0.02, "zero": 3} if seed % 2 else {}))
    agree(g, g.node("Flatten", pooled), images=20)


@pytest.mark.parametrize("seed", range(4))
def test_add_with_exact_scales(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed)
    unit = 2.0**-14
    first, second = (float(g.rng.integers(1, 16)) * 1025 * unit for _ in range(2))
    x = g.coded(g.conv(g.image(), 6), scale=0.02 * first)
    y = g.coded(g.conv(x, 6, pads=[1, 1, 1, 1]), scale=0.02 * second)
    agree(g, g.node("Flatten", g.coded(g.node("Add", x, y), scale=0.02, zero=seed * 20)))


@pytest.mark.parametrize("seed", range(4))
def test_concat_of_two_scales(graph: Make, agree: Make, seed: int) -> None:
    g = graph(seed)
    x = g.coded(g.conv(g.image(), 6))
    y = g.coded(g.conv(x, 5, pads=[1, 1, 1, 1]))
    joined = g.coded(g.node("Concat", x, y, axis=1, channels=11))
    agree(g, logits(g, g.conv(joined, 8)))


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm_reads_codes_in_onnx_order(graph: Make, agree: Make, transposed: bool) -> None:
    g = graph(1, size=8)
    x = g.coded(g.conv(g.image(), 5, strides=[4, 2], pads=[0, 1, 0, 1]))
    flat = g.node("Reshape", x, g.constant([-1, 40], np.int64))
    weight, bias = g.weights(flat, 7, 40, zero=True, transposed=transposed)
    agree(g, g.node("Gemm", flat, weight, bias, transB=0 if transposed else 1))


def test_gemm_without_a_zero_point_of_its_weights_is_refused(graph: Make) -> None:
    """What onnxruntime computes in float."""
    g = graph(1, size=8)
    x = g.node("Flatten", g.coded(g.conv(g.image(), 5, strides=[4, 2])))
    weight, bias = g.weights(x, 7, 30)
    with pytest.raises(InputError, match="weights without a zero point"):
        read_plan(g.model(g.node("Gemm", x, weight, bias, transB=1)), g.preprocess)


def test_gemm_between_codes(graph: Make, agree: Make) -> None:
    g = graph(2, size=8)
    x = g.coded(g.conv(g.image(), 5, strides=[4, 2], pads=[0, 1, 0, 1]))
    hidden = g.coded(g.head(x, 40, 16), zero=0)
    weight, bias = g.weights(hidden, 7, 16, zero=True)
    agree(g, g.node("Gemm", hidden, weight, bias, transB=1))


def test_pad_of_codes_and_of_channels(graph: Make, agree: Make) -> None:
    g = graph(3)
    x = g.conv(g.image(), 5)
    named = g.constant(0.02, np.float32), g.constant(9, np.uint8)
    codes = g.node("QuantizeLinear", x, *named)
    padded = g.node("Pad", codes, g.constant([0, 2, 1, 0, 0, 1, 2, 3], np.int64), g.constant(9, np.uint8), channels=8)
    x = g.node("DequantizeLinear", padded, *named)
    g.scales[x] = 0.02
    agree(g, logits(g, g.conv(x, 6)))


def test_a_bias_of_another_scale_is_refused(graph: Make) -> None:
    """What onnxruntime does not add as it is."""
    g = graph()
    x = g.coded(g.conv(g.image(), 5))
    g.scales[x] *= 2
    with pytest.raises(InputError, match="a bias with another scale than that of the sums"):
        read_plan(g.model(logits(g, g.conv(x, 6))), g.preprocess)


def test_an_operator_that_c_does_not_have_is_named(graph: Make) -> None:
    g = graph()
    x = g.coded(g.conv(g.image(), 5))
    answer = g.node("Flatten", g.coded(g.node("HardSigmoid", x)))
    with pytest.raises(InputError, match=r"found HardSigmoid \(output 'v\d+'\): edgetl has no C code for this operator\. Quantize with"):
        read_plan(g.model(answer), g.preprocess)


def test_a_conv_in_float_is_refused_since_its_sums_differ_from_cpu_to_cpu(graph: Make) -> None:
    g = graph()
    g.channels["image"] = 3
    x = g.node("Conv", "image", g.constant(g.rng.normal(size=(4, 3, 3, 3)), np.float32), channels=4)
    with pytest.raises(InputError, match=r"found Conv \(output 'v0'\): float values: float sums differ"):
        read_plan(g.model(g.node("Flatten", g.coded(x))), g.preprocess)


def test_a_planted_mistake_is_seen(graph: Make, agree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: rounding half away from zero in place of half to even changes ties of a mean."""
    from edgetl.cgen import functions

    part = functions._part
    monkeypatch.setattr(functions, "_part", lambda file, filled: part(file, filled).replace("&& (whole & 1u)", ""))
    g = graph(1, size=10)
    x = g.coded(g.conv(g.image(), 16), scale=0.02, zero=0)
    with pytest.raises(AssertionError):
        agree(g, g.node("Flatten", g.coded(g.node("GlobalAveragePool", x), scale=0.02, zero=0)), images=200)


def test_the_plan_does_not_change_the_graph(graph: Make) -> None:
    g = graph()
    model = g.model(g.node("Flatten", g.coded(g.conv(g.image(), 4))))
    before = onnx.ModelProto()
    before.CopyFrom(model)
    read_plan(model, g.preprocess)
    assert model == before


def test_constants_may_be_nodes(graph: Make, agree: Make) -> None:
    g = graph(4)
    x = g.coded(g.conv(g.image(), 5))
    shape = numpy_helper.from_array(np.array([0, -1]), "shape")
    g.nodes.append(helper.make_node("Constant", [], ["shape"], value=shape))
    agree(g, g.node("Reshape", x, "shape"))


def test_a_shape_that_mixes_images_is_refused(graph: Make) -> None:
    g = graph()
    x = g.coded(g.conv(g.image(), 5))
    with pytest.raises(InputError, match=r"found Reshape \(output 'v.*'\): a shape that does not fit one image"):
        read_plan(g.model(g.node("Reshape", x, g.constant([7, -1], np.int64))), g.preprocess)
