"""Bundles for one image (`--batch 1`): every shape is a number, the same logits bit for bit, and everything else works as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.bundle.check import check_bundle
from edgetl.bundle.fixed_shapes import with_fixed_shapes
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.canonical import canonical
from edgetl.core.errors import InputError, SettingsError
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.settings import ExportSettings

from ..conftest import Ended
from .conftest import CLASSES, PICTURES, PREPROCESS, float_graph

CHANNELS, SIDE = PREPROCESS.shape[0], PREPROCESS.shape[1]
INPUTS = {
    "model.onnx": ("input", [1, CHANNELS, SIDE, SIDE]),
    "model.float.onnx": ("input", [1, CHANNELS, SIDE, SIDE]),
    "model.image.onnx": ("resized", [1, SIDE, SIDE, CHANNELS]),
}


def written(out: Path, graphs: tuple[Path, Path], info: ModelInfo, **more: Any) -> Bundle:
    given = {"shipped": graphs[1], "form": "int8", "target": "portable", "provenance": {}, **more}
    return write_bundle(out, float_model=graphs[0], info=info, golden=PICTURES, **given)


@pytest.fixture(scope="module")
def bundles(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Of any number of images, and of one, both with C code."""
    folder = tmp_path_factory.mktemp("fixed")
    return written(folder / "any", graphs, info, c=True), written(folder / "one", graphs, info, c=True, batch=1)


def answers(path: Path, given: NDArray[Any]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: given}))


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {value.name: [part.dim_value or part.dim_param for part in value.type.tensor_type.shape.dim] for value in values}


@pytest.mark.parametrize("name", INPUTS)
def test_the_same_outputs_bit_for_bit(name: str, bundles: tuple[Bundle, Bundle]) -> None:
    step, shape = INPUTS[name]
    golden = json.loads((bundles[1].path / "golden/golden.json").read_text(encoding="utf-8"))
    for image in golden["images"]:
        given = np.load(bundles[1].path / "golden" / image["stages"][step]).reshape(shape)
        for expected, found in zip(*(answers(bundle.path / name, given) for bundle in bundles), strict=True):
            np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("name", INPUTS)
def test_every_shape_is_a_number(name: str, bundles: tuple[Bundle, Bundle]) -> None:
    """What onnxruntime says of inputs and outputs, and what the file says of all between."""
    session = ort.InferenceSession(bundles[1].path / name, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == INPUTS[name][1]
    assert all(output.shape == [1, len(CLASSES)] for output in session.get_outputs())
    model = onnx.load(bundles[1].path / name)
    said = shapes(model)
    assert {output for node in model.graph.node for output in node.output} <= said.keys()
    assert all(isinstance(size, int) and size > 0 for sizes in said.values() for size in sizes)
    assert "batch" in str(shapes(onnx.load(bundles[0].path / name)))  # the test can fail


def test_golden_vectors_and_small_forms_are_those_of_the_other(bundles: tuple[Bundle, Bundle]) -> None:
    """For one image anyway: the ORT format, the graph for pictures of any size, C."""
    names = [path.relative_to(bundles[0].path) for path in bundles[0].path.rglob("*") if path.is_file()]
    other = {name.as_posix() for name in names if (bundles[0].path / name).read_bytes() != (bundles[1].path / name).read_bytes()}
    assert other == {*INPUTS, "README.md", "manifest.json"} and (bundles[1].path / "clients/c/classifier.c").is_file()


def test_the_bundle_proves_itself_with_all_its_clients(bundles: tuple[Bundle, Bundle]) -> None:
    parts = {finding.part: finding for finding in check_bundle(bundles[1].path)}
    assert {name: finding.problems for name, finding in parts.items() if finding.problems} == {}
    wanted = {"files", "manifest", "golden vectors", "client python"} | ({"client c"} if shutil.which("cc") else set())
    assert wanted <= {name for name, finding in parts.items() if finding.state == "ok"}


def test_manifest_and_readme_say_it(bundles: tuple[Bundle, Bundle]) -> None:
    free, fixed = (open_bundle(bundle.path).manifest for bundle in bundles)
    assert (free.inputs[0].shape[0], fixed.inputs[0].shape[0], fixed.outputs[0].shape[0]) == ("batch", 1, 1)
    assert {spec.file: spec.input.shape[0] for spec in fixed.models} == {**dict.fromkeys(INPUTS, 1), "model.anysize.onnx": 1}
    texts = [(bundle.path / "README.md").read_text(encoding="utf-8") for bundle in bundles]
    assert "--batch 1 --out" in texts[0] and "take one image at a time" not in texts[0]
    assert "take one image at a time" in texts[1] and f"uint8 [1, {SIDE}, {SIDE}, {CHANNELS}]" in texts[1]


def test_the_same_inputs_give_the_same_bytes(
    bundles: tuple[Bundle, Bundle], graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path
) -> None:
    assert written(tmp_path / "bundle", graphs, info, c=True, batch=1).sha256 == bundles[1].sha256


def flat(model: onnx.ModelProto, how: str) -> onnx.ModelProto:
    """The model with its Flatten written as exporters write it otherwise."""
    nodes = {"": [], "sizes": [helper.make_node("Shape", ["g"], ["s"]), helper.make_node("Gather", ["s", "first"], ["n"])]}
    match how:
        case "keep":
            new, made = [], {"shape": np.array([0, -1], np.int64)}
        case "rest":
            new, made = [], {"shape": np.array([-1, 8], np.int64)}
        case _:
            new = [*nodes["sizes"], helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0)]
            made = {"first": np.array([0], np.int64), "rest": np.array([-1], np.int64)}
    at = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Flatten")
    tail = [helper.make_node("Reshape", ["g", "shape"], ["f"]), *list(model.graph.node)[at + 1 :]]
    head = list(model.graph.node)[:at]
    del model.graph.node[:]
    model.graph.node.extend([*head, *new, *tail])
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in made.items())
    return model


@pytest.mark.parametrize("how", ["keep", "rest", "computed"])
def test_reshapes_ask_for_numbers(how: str, tmp_path: Path) -> None:
    """As exporters write them: 0 or -1, or computed from the shape of what they read."""
    model = flat(float_graph(), how)
    fixed = with_fixed_shapes(model, PREPROCESS.shape, "m.onnx")
    onnx.checker.check_model(fixed, full_check=True)
    stored = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in fixed.graph.initializer if tensor.data_type == 7}
    assert [stored[node.input[1]] for node in fixed.graph.node if node.op_type == "Reshape"] == [[1, 8]]
    assert not {"Shape", "Gather"} & {node.op_type for node in fixed.graph.node}
    assert len(stored) == 1  # nothing that nobody reads
    x = np.random.default_rng(0).normal(size=(1, *PREPROCESS.shape)).astype(np.float32)
    for graph, name in ((model, "any.onnx"), (fixed, "one.onnx")):
        onnx.save_model(graph, tmp_path / name)
    np.testing.assert_array_equal(answers(tmp_path / "one.onnx", x)[0], answers(tmp_path / "any.onnx", x)[0])


def test_a_tensor_of_the_users_that_has_the_name_of_a_new_one_stays(tmp_path: Path) -> None:
    """The constant of a Reshape that makes `f` would be called `f_sizes`."""
    model = flat(float_graph(), "keep")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.name = model.graph.node[-1].input[2] = "f_sizes"
    fixed = with_fixed_shapes(model, PREPROCESS.shape, "m.onnx")
    onnx.checker.check_model(fixed, full_check=True)
    x = np.random.default_rng(0).normal(size=(1, *PREPROCESS.shape)).astype(np.float32)
    for graph, name in ((model, "any.onnx"), (fixed, "one.onnx")):
        onnx.save_model(graph, tmp_path / name)
    np.testing.assert_array_equal(answers(tmp_path / "one.onnx", x)[0], answers(tmp_path / "any.onnx", x)[0])


def sized(*sizes: int | str) -> onnx.ModelProto:
    model = float_graph()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, sizes))
    return model


def test_open_heights_and_widths_become_those_of_the_preprocess() -> None:
    fixed = with_fixed_shapes(sized("n", 3, "h", "w"), PREPROCESS.shape, "m.onnx")
    assert shapes(fixed)["image"] == [1, 3, SIDE, SIDE] and shapes(fixed)["c"] == [1, 8, SIDE - 2, SIDE - 2]


def test_weights_of_old_files_that_are_inputs_too_stay_weights() -> None:
    """ONNX before IR version 4; a shape that nobody reads any more must not become an input that somebody must give."""
    model = flat(float_graph(), "keep")
    model.graph.input.extend(helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in model.graph.initializer)
    model.ir_version = 3
    fixed = with_fixed_shapes(model, PREPROCESS.shape, "m.onnx")
    assert [value.name for value in fixed.graph.input] == ["image"]
    assert ort.InferenceSession(fixed.SerializeToString()).get_inputs()[0].shape == [1, 3, SIDE, SIDE]


@pytest.mark.parametrize("sizes", [(4, 3, SIDE, SIDE), ("n", 3, SIDE + 1, SIDE), ("n", 3)])
def test_another_number_of_images_is_refused(sizes: tuple[int | str, ...]) -> None:
    with pytest.raises(InputError, match=r"expected m\.onnx to take any number of images, or one, for --batch 1, found the input \["):
        with_fixed_shapes(sized(*sizes), PREPROCESS.shape, "m.onnx")


@pytest.mark.parametrize("batch", [0, -1, 2, 8])
def test_other_numbers_are_refused(batch: int) -> None:
    with pytest.raises(SettingsError, match=f"batch: expected 1, found {batch}"):
        ExportSettings(batch=batch)  # type: ignore[arg-type]


def test_keys_of_what_was_made_before_stay() -> None:
    assert "batch" not in canonical(ExportSettings())  # type: ignore[operator]
    assert canonical(ExportSettings(batch=1)) == {**canonical(ExportSettings()), "batch": 1}  # type: ignore[dict-item]


def test_the_command(edgetl: Callable[..., Ended], graphs: tuple[Path, Path], bundles: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    """One command makes it of the model of a bundle; a bad number is one message, and nothing is written."""
    given = ("export", bundles[0].path / "model.onnx", "--out", tmp_path / "one")
    bad = edgetl(*given, "--batch", "2")
    assert bad.returncode == 2 and "batch: expected 1, found 2" in bad.stderr and list(tmp_path.iterdir()) == []
    good = edgetl(*given, "--batch", "1")
    assert good.returncode == 0, good.stderr
    assert open_bundle(tmp_path / "one").manifest.inputs[0].shape == (1, CHANNELS, SIDE, SIDE)
