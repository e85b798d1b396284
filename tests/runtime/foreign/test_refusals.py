"""Laws of what cannot be a classifier with one answer to one image: refused before anything is done, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.core.errors import InputError
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.runtime.foreign.read import read_float, read_runnable

Build = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]
NORM = {"s": np.ones(8, np.float32), "z": np.zeros(8, np.float32), "m": np.zeros(8, np.float32), "v": np.ones(8, np.float32)}


def norm(outputs: list[str], **attributes: Any) -> list[onnx.NodeProto]:
    return [helper.make_node("BatchNormalization", ["r", "s", "z", "m", "v"], outputs, name="bn", **attributes)]


def dropout(ratio: float, training: bool) -> dict[str, Any]:
    middle = [helper.make_node("Dropout", ["r", "ratio", "training"], ["h"], name="drop")]
    return {"middle": middle, "stored": {"ratio": np.float32(ratio), "training": np.array(training)}}


def test_training_mode_is_refused_everywhere(build: Build, save: Save) -> None:
    cases = [
        (build(middle=norm(["h", "rm", "rv"], training_mode=1), stored=NORM), r"BatchNormalization 'bn', training_mode=1"),
        (build(middle=norm(["h", "rm", "rv", "sm", "sv"]), stored=NORM, opset=11), "outputs of running statistics"),
        (build(**dropout(0.5, True)), r"Dropout 'drop', training_mode=true"),
    ]
    for model, sign in cases:
        path = save(model)
        for read in (read_float, read_runnable, prepare_graph):
            with pytest.raises(InputError, match=rf"exported in training mode \(.*{sign}.*model.eval\(\)"):
                read(path)


def test_dropout_that_drops_nothing_is_fine(build: Build, save: Save) -> None:
    old = [helper.make_node("Dropout", ["r"], ["h", "mask"], ratio=0.5)]
    for model in (build(**dropout(0.5, False)), build(**dropout(0.0, True)), build(middle=old, opset=9)):
        assert read_float(save(model)).clean
    assert read_float(save(build(middle=norm(["h"]), stored=NORM))).clean


@pytest.mark.parametrize("kind", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_random_operators_are_refused_in_branches_and_functions_too(build: Build, save: Save, kind: str) -> None:
    draw = [helper.make_node(kind, ["r"], ["noise"], name="draw"), helper.make_node("Add", ["r", "noise"], ["h"])]
    message = rf"found the random operator {kind} 'draw', as in a graph exported in training mode"
    with pytest.raises(InputError, match=message):
        read_float(save(build(middle=draw)))
    branch = helper.make_graph(draw, "then", [], [helper.make_tensor_value_info("h", TensorProto.FLOAT, None)])
    same = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["i"])], "else", [], [helper.make_tensor_value_info("i", TensorProto.FLOAT, None)]
    )
    middle = [helper.make_node("If", ["yes"], ["h"], then_branch=branch, else_branch=same)]
    with pytest.raises(InputError, match=message):
        read_float(save(build(middle=middle, stored={"yes": np.array(True)})))
    model = build(middle=[helper.make_node("Noisy", ["r"], ["h"], domain="theirs")], imports=[("theirs", 1)])
    model.functions.append(helper.make_function("theirs", "Noisy", ["r"], ["h"], draw, [helper.make_opsetid("", 17)]))
    with pytest.raises(InputError, match=rf"found the random operator {kind}"):
        read_runnable(save(model))


@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_what_onnxruntime_optimized_is_no_float_model_and_still_answers(build: Build, tmp_path: Path, level: str) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "fast.onnx")
    ort.InferenceSession(build().SerializeToString(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(
        InputError, match=r"expected fast.onnx as its exporter wrote it, found .* of domain com.microsoft.* Give the original"
    ):
        read_float(tmp_path / "fast.onnx")
    assert read_runnable(tmp_path / "fast.onnx").clean


def test_ort_files_and_files_of_others_are_named(build: Build, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(build().SerializeToString(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(InputError, match=r"ORT format. Give the .onnx it was made from"):
        read_float(tmp_path / "m.ort")
    with (tmp_path / "zip.onnx").open("wb") as stream:
        np.savez(stream, x=np.zeros(3))
    with pytest.raises(InputError, match="found a zip archive"):
        read_float(tmp_path / "zip.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w", "f"])
def test_weights_that_are_not_finite_are_named(build: Build, save: Save, name: str, value: float) -> None:
    model = build()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    weight = numpy_helper.to_array(tensor).copy()
    weight.flat[3] = value
    tensor.CopyFrom(numpy_helper.from_array(weight, name))
    for read in (read_float, read_runnable):
        with pytest.raises(InputError, match=rf"expected finite weights in theirs.onnx, found NaN or infinity in {name} \(1 "):
            read(save(model))


def test_infinite_masks_and_bounds_are_fine(build: Build, save: Save) -> None:
    mask = [helper.make_node("Clip", ["r", "", "most"], ["k"]), helper.make_node("Max", ["k", "least"], ["h"])]
    assert read_float(save(build(middle=mask, stored={"most": np.float32(np.inf), "least": np.float32(-np.inf)}))).clean


def test_a_model_of_other_things_than_images_is_told_so(build: Build, save: Save) -> None:
    for shape, found in (
        (["n", 3, 100], "signals of one dimension"),
        (["n", 3, 8, 8, 8], "volumes or video"),
        (["n", 40], "rows of numbers"),
    ):
        with pytest.raises(InputError, match=rf"expected theirs.onnx to take images, float32 \[n, c, h, w\], found image: .*{found}"):
            read_float(save(build(shape=shape)))
    model = build()
    model.graph.input.append(helper.make_tensor_value_info("length", TensorProto.FLOAT, ["n"]))
    with pytest.raises(InputError, match=r"to have one input, images \[n, c, h, w\], found 2: image: float32 \[n, 3, 12, 12\], length"):
        read_float(save(model))


@pytest.mark.parametrize(("opset", "ir", "word"), [(99, 10, "opset 99"), (17, 99, "IR version: 99")])
def test_a_file_that_is_too_new_is_told_how_to_be_older(build: Build, save: Save, opset: int, ir: int, word: str) -> None:
    from edgetl.runtime.session import open_session

    model = build(opset=17)
    model.opset_import[0].version, model.ir_version = opset, ir
    path = save(model)
    with pytest.raises(InputError, match=rf"(?i){word}.*opset_version=20"):
        read_float(path)
        open_session(path)
