"""Laws of a foreign graph's two ends: images [n, c, h, w] go in, a row of scores comes out, the function stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import pytest
from onnx import TensorProto, helper

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.runtime.foreign.read import read_float, read_runnable
from edgetl.runtime.onnx_metadata import info_of
from edgetl.runtime.session import open_graph

Build = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]
TO_FIRST = helper.make_node("Transpose", ["x"], ["image"], perm=[0, 3, 1, 2])


def value(name: str, kind: int, shape: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize("shape", [("n", 12, 12, 3), ("n", "h", "w", 3), (None, None, None, None)])
def test_a_transpose_in_front_is_taken_out(build: Build, save: Save, ask: Any, images: Any, shape: Any) -> None:
    path = save(build(front=[TO_FIRST], shape=shape))
    for read in (read_float, read_runnable):
        found = read(path)
        assert not any(node.op_type == "Transpose" for node in found.model.graph.node)
        session = open_graph(found.model)
        assert session.input_name == "x" and session.input_shape[1] == shape[3] and "takes NHWC images" in found.said[0]
        np.testing.assert_array_equal(session.run(images), ask(path, np.ascontiguousarray(images.transpose(0, 2, 3, 1))))


def test_arithmetic_before_the_transpose_stays(build: Build, save: Save, ask: Any, images: Any) -> None:
    """Keras' Rescaling and Normalization compute channels last."""
    front = [helper.make_node("Sub", ["x", "mean"], ["s"]), helper.make_node("Transpose", ["s"], ["image"], perm=[0, 3, 1, 2])]
    path = save(build(front=front, shape=("n", 12, 12, 3), stored={"mean": np.array([0.1, 0.5, -1], np.float32)}))
    np.testing.assert_array_equal(open_graph(read_float(path).model).run(images), ask(path, images.transpose(0, 2, 3, 1).copy()))


def test_rectangles_keep_height_and_width_apart(build: Build, save: Save) -> None:
    found = read_float(save(build(front=[TO_FIRST], shape=("n", 20, 12, 3))))
    assert open_graph(found.model).input_shape == (None, 3, 20, 12)


def test_a_first_transpose_of_images_that_are_nchw_is_left_alone(build: Build, save: Save) -> None:
    """[n, 3, 12, 12] -> Transpose -> ...: what is read is channels first, whatever happens behind."""
    middle = [helper.make_node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2])]
    middle += [helper.make_node("ReduceMean", ["t"], ["m"], keepdims=1), helper.make_node("Add", ["r", "m"], ["h"])]
    assert read_float(save(build(middle=middle))).clean


def test_an_input_without_a_shape_is_an_image(build: Build, save: Save, ask: Any, images: Any) -> None:
    model = build()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    np.testing.assert_array_equal(open_graph(read_float(save(model)).model).run(images), ask(build(), images))


@pytest.mark.parametrize("first", [True, False])
def test_the_advice_for_bytes_works(build: Build, save: Save, ask: Any, images: Any, tmp_path: Path, first: bool) -> None:
    """The cut that the message names gives a float model; the Preprocess that it names undoes what was cut off."""
    deviation, mean = np.array([50, 60, 70], np.float32), np.array([100, 120, 130], np.float32)
    shape = (1, 1, 1, 3) if not first else (1, 3, 1, 1)
    scale = [helper.make_node("Sub", ["floats", "mean"], ["s"]), helper.make_node("Div", ["s", "deviation"], ["d"])]
    cast = helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT)
    last = helper.make_node("Identity", ["d"], ["image"]) if first else helper.make_node("Transpose", ["d"], ["image"], perm=[0, 3, 1, 2])
    front = [cast, *scale, last]
    stored = {"mean": mean.reshape(shape), "deviation": deviation.reshape(shape)}
    size = ("n", 3, 12, 12) if first else ("n", 12, 12, 3)
    path = save(build(front=front, kind=TensorProto.UINT8, shape=size, stored=stored))
    with pytest.raises(InputError, match=r"expected theirs.onnx to take float images \[n, c, h, w\], found x: uint8") as raised:
        read_float(path)
    call = re.search(r"onnx\.utils\.extract_model\((.*?\])\);", str(raised.value))
    assert call is not None
    _, _, inputs, outputs = json.loads(f"[{call[1]}]")
    onnx.utils.extract_model(str(path), str(tmp_path / "cut.onnx"), inputs, outputs)
    said = re.search(r"normalization (\{.*\}) for", str(raised.value))
    assert said is not None
    prepared = Preprocess.from_json(json.dumps({"size": 12, "resize": 12, **json.loads(said[1])}))
    pixels = np.random.default_rng(2).integers(0, 256, (4, 3, 12, 12), dtype=np.uint8)
    middle, spread = (np.asarray(numbers, np.float32).reshape(3, 1, 1) for numbers in (prepared.mean, prepared.std))
    x = ((pixels / np.float32(255) - middle) / spread).astype(np.float32)
    wanted = ask(path, pixels if first else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(open_graph(read_float(tmp_path / "cut.onnx").model).run(x), wanted, rtol=1e-3, atol=1e-3)


def test_a_graph_that_answers_is_cut_at_its_scores(build: Build, save: Save, ask: Any, images: Any) -> None:
    best = [helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0), helper.make_node("Cast", ["best"], ["label"], to=6)]
    top = [helper.make_node("Softmax", ["scores"], ["p"], axis=1), helper.make_node("TopK", ["p", "two"], ["values", "places"])]
    tails = {
        "Cast": {"tail": best, "outputs": [value("label", TensorProto.INT32, ["n"])]},
        "TopK": {
            "tail": [*best, *top],
            "outputs": [value("values", 1, ["n", 2]), value("places", 7, ["n", 2]), value("label", 6, ["n"])],
            "stored": {"two": np.array([2])},
        },
    }
    for name, options in tails.items():
        path = save(build(**options))
        found = read_float(path)
        assert f"from {name}" in found.said[0] and "cut at the scores they are taken from, scores" in found.said[0]
        np.testing.assert_array_equal(open_graph(found.model).run(images), ask(build(), images))


def test_names_of_classes_at_the_end_become_labels(build: Build, save: Save, ask: Any, images: Any) -> None:
    names = ["fox", "owl", "elk", "bee", "ant"]
    text = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(1, [])))
    tail = [
        helper.make_node("Softmax", ["scores"], ["p"], axis=1),
        helper.make_node("ZipMap", ["p"], ["named"], domain="ai.onnx.ml", classlabels_strings=names),
    ]
    path = save(build(tail=tail, outputs=[helper.make_value_info("named", text)], imports=[("ai.onnx.ml", 3)]))
    found = read_float(path)
    assert info_of(found.model, "m").classes == tuple(names)
    np.testing.assert_allclose(open_graph(found.model).run(images).sum(axis=1), 1, rtol=1e-5)


def test_answers_of_two_kinds_of_scores_are_refused(build: Build, save: Save) -> None:
    tail = [
        helper.make_node("ArgMax", ["scores"], ["a"], axis=1, keepdims=0),
        helper.make_node("Neg", ["scores"], ["n"]),
        helper.make_node("ArgMax", ["n"], ["b"], axis=1, keepdims=0),
    ]
    path = save(build(tail=tail, outputs=[value("a", 7, ["n"]), value("b", 7, ["n"])]))
    with pytest.raises(InputError, match=r"found a: int64 \[n\] from ArgMax, b: int64 \[n\] from ArgMax.*onnx.utils.extract_model"):
        read_float(path)


def test_scores_channels_last_are_flattened(build: Build, save: Save, ask: Any, images: Any) -> None:
    tail = [helper.make_node("Reshape", ["scores", "to"], ["last"])]
    path = save(build(tail=tail, outputs=[value("last", 1, ["n", 1, 1, 5])], stored={"to": np.array([-1, 1, 1, 5])}))
    np.testing.assert_array_equal(open_graph(read_float(path).model).run(images), ask(build(), images))


def test_what_is_clean_passes_as_it_is(build: Build, save: Save) -> None:
    path = save(build())
    found = read_float(path)
    assert found.clean and found.model == onnx.load(path) and read_runnable(path).model == onnx.load(path)


def test_sparse_weights_functions_and_twin_names_are_written_out(build: Build, save: Save, ask: Any, images: Any) -> None:
    model = build(middle=[helper.make_node("Twice", ["r"], ["h"], domain="theirs", name="conv")], imports=[("theirs", 1)])
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("theirs", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "f")
    dense = onnx.numpy_helper.to_array(weight)
    rows, columns = np.nonzero(dense)
    places = onnx.numpy_helper.from_array(np.stack([rows, columns], axis=1).astype(np.int64))
    values = onnx.numpy_helper.from_array(dense[rows, columns], "f")
    model.graph.initializer.remove(weight)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(dense.shape)))
    found = read_float(save(model))
    assert not found.model.functions and not found.model.graph.sparse_initializer and len(found.said) >= 2
    named = [node.name for node in found.model.graph.node if node.name]
    assert len(named) == len(set(named))
    twice = build(middle=[helper.make_node("Add", ["r", "r"], ["h"])])
    np.testing.assert_allclose(open_graph(found.model).run(images), ask(twice, images), rtol=1e-5)


def test_the_standard_domain_has_two_names(build: Build, save: Save, ask: Any, images: Any) -> None:
    model = build()
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    found = read_float(save(model)).model
    assert {item.domain for item in found.opset_import} == {""} == {node.domain for node in found.graph.node}
    np.testing.assert_array_equal(ask(found, images), ask(build(), images))
