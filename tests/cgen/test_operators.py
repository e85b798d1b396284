"""Each operator in C gives the bits that onnxruntime's kernel gives, for forms and numbers drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgetl.cgen.averages import with_whole_averages
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


def averaged(graph: Make, seed: int) -> tuple[Any, str]:
    """Logits that are means in float of codes, as SqueezeNet's are, and the graph with them."""
    g = graph(seed, size=10 + seed)
    x = g.coded(g.conv(g.image(), 7), scale=0.0117, zero=(0, 90)[seed % 2])
    return g, g.node(("Flatten", "Squeeze", "Reshape")[seed % 3], g.node("GlobalAveragePool", x), *shape_of(g, seed))


def shape_of(g: Any, seed: int) -> list[str]:
    return [g.constant([2, 3], np.int64)] if seed % 3 == 1 else [g.constant([-1, 7], np.int64)] if seed % 3 == 2 else []


@pytest.mark.parametrize("seed", range(6))
def test_averages_in_float_sum_whole_numbers(graph: Make, compiler: Any, reference: Any, seed: int) -> None:
    """The written graph gives the old one's logits but for rounding, the C code the written one's bits."""
    g, answer = averaged(graph, seed)
    model, images = g.model(answer), g.rng.integers(0, 256, (20, 10 + seed, 10 + seed, 3), dtype=np.uint8)
    whole = with_whole_averages(model)
    onnx.shape_inference.infer_shapes(whole, check_type=True, strict_mode=True)
    expected = reference(whole, g.preprocess, images)
    np.testing.assert_allclose(expected, reference(model, g.preprocess, images), rtol=1e-5, atol=1e-6)
    found = compiler.logits(whole, g.preprocess, images, 7)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


def test_whole_sums_are_the_same_in_every_order(graph: Make, reference: Any) -> None:
    """What other CPUs do: float32 sums of the same codes from the last place to the first, by pairs, and by neighbors of four."""
    g, answer = averaged(graph, 3)
    images = g.rng.integers(0, 256, (8, 13, 13, 3), dtype=np.uint8)
    codes, scale = decoded_codes(g, answer, reference, images)
    orders = {name: order(codes) / np.float32(codes.shape[1]) * scale for name, order in ORDERS.items()}
    expected = reference(with_whole_averages(g.model(answer)), g.preprocess, images)
    for name, found in orders.items():
        np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32), err_msg=name)
    scaled = [order(codes * scale) / np.float32(codes.shape[1]) for order in ORDERS.values()]
    assert not all(np.array_equal(found, scaled[0]) for found in scaled[1:])  # why the scale has to move


def decoded_codes(g: Any, answer: str, reference: Any, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], np.float32]:
    """What the average reads, in codes less the zero point, float32 [images, places, channels], and their scale."""
    pool = next(node for node in g.nodes if node.op_type == "GlobalAveragePool")
    decode = next(node for node in g.nodes if pool.input[0] in node.output)
    scale = next(numpy_helper.to_array(tensor) for tensor in g.constants if tensor.name == decode.input[1])
    values = reference(g.model(pool.input[0]), g.preprocess, images).reshape(len(images), 7, -1)
    return np.rint(values / scale).astype(np.float32).transpose(0, 2, 1), np.float32(scale)


def lanes(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Sums of every fourth place, one behind the other."""
    return [in_order(values[:, lane : values.shape[1] // 4 * 4 : 4]) for lane in range(4)]


def in_order(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.add.accumulate(values, axis=1, dtype=np.float32)[:, -1])


def with_rest(total: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    for place in range(values.shape[1] // 4 * 4, values.shape[1]):
        total = total + values[:, place]
    return total


def of_x86(values: NDArray[np.float32]) -> NDArray[np.float32]:
    a, b, c, d = lanes(values)
    return with_rest((a + c) + (b + d), values)


def of_arm(values: NDArray[np.float32]) -> NDArray[np.float32]:
    a, b, c, d = lanes(values)
    return with_rest((a + b) + (c + d), values)


ORDERS = {"first to last": in_order, "last to first": lambda values: in_order(values[:, ::-1]), "x86": of_x86, "ARM": of_arm}


def test_an_average_in_float_is_refused_unless_its_sums_are_whole(graph: Make) -> None:
    g, answer = averaged(graph, 0)
    with pytest.raises(InputError, match=r"the result of a GlobalAveragePool in float: float sums differ between CPUs"):
        read_plan(g.model(answer), g.preprocess)


def test_other_averages_stay_as_they_are(graph: Make) -> None:
    """Between codes, and in front of what is not the answer; a graph that has been written so is not written again."""
    g, answer = averaged(graph, 0)
    whole = with_whole_averages(g.model(answer))
    assert [node.op_type for node in whole.graph.node][-4:] == ["DequantizeLinear", "GlobalAveragePool", "Mul", "Flatten"]
    others = [g.model(g.node("Softmax", answer)), g.model(g.node("Flatten", g.coded(averaged_again(g)))), whole]
    for model in others:
        assert with_whole_averages(model) is model


def averaged_again(g: Any) -> str:
    return str(g.node("GlobalAveragePool", g.coded(g.conv(g.image(), 16), scale=0.02)))


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
