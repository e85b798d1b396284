"""Photos keep their own codes: the function stays, and nothing is rounded in front of the first Conv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.pixel_codes import PIXELS, Levels, with_pixel_codes
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.passes import run
from edgetl.quantization.layout.lay_out import FOR_PIXELS
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.engine import start

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Photos:
    """Smooth random images, as bytes and as a network gets them."""

    codes: NDArray[np.uint8]

    @staticmethod
    def drawn(count: int, side: int = 16) -> Photos:
        rng = np.random.default_rng(3)
        slopes = rng.uniform(0, 255, (count, 3, 2, 1, 1))
        ramp = np.linspace(0, 1, side)
        mixed = slopes[:, :, 0] * ramp[:, None] + slopes[:, :, 1] * ramp[None]
        codes = np.clip(np.rint(mixed / 2 + rng.normal(0, 20, (count, 3, side, side)) + 60), 0, 255).astype(np.uint8)
        codes[0, :, 5, 5:7] = 0, 255  # every channel has both
        return Photos(codes)

    @property
    def x(self) -> NDArray[np.float32]:
        return ((self.codes / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)


def test_the_levels_of_normalized_photos_are_found() -> None:
    found = Levels.of(Photos.drawn(40).x)
    assert found is not None
    np.testing.assert_allclose(found.low, -MEAN / STD, rtol=1e-5)
    np.testing.assert_allclose(found.step, 1 / 255 / STD, rtol=1e-5)
    assert found.zero == 114  # 255 times the mean of the means is 114.495


def test_levels_that_were_not_seen_are_supposed_on_both_sides() -> None:
    x = (np.arange(10, 210, dtype=np.float32) / 100).reshape(1, 1, 10, 20)
    found = Levels.of(x)
    assert found is not None and found.low == pytest.approx([0.10 - 0.28]) and found.step == pytest.approx([0.01])


def test_what_has_no_levels_is_left_alone(small: Path) -> None:
    model = prepare_graph(small)
    photos = Photos.drawn(8).x
    for images in (np.random.default_rng(0).normal(size=photos.shape).astype(np.float32), np.zeros_like(photos), np.round(photos)):
        assert Levels.of(images) is None and with_pixel_codes(model, images) is model


def test_an_input_that_something_else_reads_too_is_left_alone(small: Path) -> None:
    model = prepare_graph(small)
    model.graph.node.append(helper.make_node("Relu", ["input"], ["other"]))
    assert with_pixel_codes(model, Photos.drawn(8).x) is model


@pytest.mark.parametrize("pads", [None, [1, 1, 1, 1], [0, 1, 2, 0]])
def test_the_function_stays(small: Path, pads: list[int] | None) -> None:
    model, photos = prepare_graph(small), Photos.drawn(8)
    conv = next(node for node in model.graph.node if "input" in node.input)
    attribute = next(item for item in conv.attribute if item.name == "pads")
    conv.attribute.remove(attribute)
    if pads:
        conv.attribute.append(helper.make_attribute("pads", pads))
    del model.graph.value_info[:]
    found = with_pixel_codes(model, photos.x)
    assert found is not model and onnx.checker.check_model(found, full_check=True) is None
    before, after = (start(graph.SerializeToString(), optimize=True).run(None, {"input": photos.x})[0] for graph in (model, found))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    back = run(FOR_PIXELS, found)  # where the Conv stays in float, it needs no map
    assert [node.op_type for node in back.graph.node] == [node.op_type for node in model.graph.node]
    (again,) = start(back.SerializeToString(), optimize=True).run(None, {"input": photos.x})
    np.testing.assert_allclose(again, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("tune_images", [0, 64])
def test_the_codes_are_the_bytes_of_the_photos(small: Path, tmp_path: Path, tune_images: int) -> None:
    photos = Photos.drawn(40)
    record = quantize(small, Arrays(photos.x), out=tmp_path / "int8.onnx", tune_images=tune_images)
    assert [chosen.rule for chosen in record.ranges.values()].count("levels of pixels") == 1
    model: Any = onnx.load(tmp_path / "int8.onnx")
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(first.output[0], TensorProto.UINT8, None))
    (codes,) = start(model.SerializeToString(), optimize=False).run(None, {"input": photos.x})
    inner = codes[:, :, 1:-1, 1:-1]  # the border is padding
    np.testing.assert_array_equal(inner, photos.codes)
    assert set(np.unique(codes[:, :, 0])) <= {103, 104, 116, 117, 123, 124}  # what 0 is nearest to, channel by channel


@pytest.mark.parametrize(("mean", "folds"), [(MEAN, True), (np.array([0.5, 0.5, 0.5]), False)])
def test_the_map_folds_into_the_rounding(small: Path, mean: NDArray[np.float64], folds: bool) -> None:
    """255 times a mean of 0.5 is 127.5, midway between two levels."""
    x = ((Photos.drawn(40).codes / 255 - mean[:, None, None]) / STD[:, None, None]).astype(np.float32)
    graph = Baseline.of(prepare_graph(small), Arrays(x), "portable", batch_size=8, threads=1).by_extremes
    found = run(FOR_PIXELS, graph)
    assert (found is not graph) == folds and any(node.op_type == "BatchNormalization" for node in found.graph.node) != folds
    before, after = (start(one.SerializeToString(), optimize=True).run(None, {"input": x})[0] for one in (graph, found))
    np.testing.assert_array_equal(after, before)


def test_the_range_is_that_of_the_levels_whatever_was_seen(small: Path) -> None:
    begun = Baseline.of(prepare_graph(small), Arrays(Photos.drawn(16).x), "portable", batch_size=8, threads=1)
    for found in (begun.min_max_ranges[PIXELS], begun.chosen[PIXELS].range):
        assert found.low == pytest.approx(-114 / 255) and found.high == pytest.approx(141 / 255)
