"""Laws of ONNX metadata: what is written comes back, what strangers wrote is checked."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.core.seen import SeenImages
from edgetl.runtime.onnx_metadata import ModelInfo, check_file, clean, describe, read_info, save


def model(**props: str) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 1, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    node = helper.make_node("Flatten", ["x"], ["y"], name="flat", doc_string="/home/someone/model.py")
    built = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(built, props)
    return built


def test_what_is_described_comes_back(tmp_path: Path) -> None:
    seen = SeenImages.of("a" * 64, train=["b" * 64])
    info = ModelInfo(classes=("cat", "Käfer", "犬"), preprocess=imagenet(96), task="classification", seen=seen, extra={"author": "me"})
    save(describe(model(old="gone"), info), tmp_path / "m.onnx")
    found = read_info(tmp_path / "m.onnx")
    assert (found.classes, found.preprocess, found.task, found.extra) == (info.classes, info.preprocess, "classification", {"author": "me"})
    assert found.seen == seen.compact() and found.seen.parts == {}  # a filter travels, the hashes do not
    assert found.seen.part_of("b" * 64) == "train" and found.seen.part_of("c" * 64) is None
    keys = [prop.key for prop in onnx.load(tmp_path / "m.onnx").metadata_props]
    assert keys == sorted(keys)


def test_a_bare_model_tells_nothing(tmp_path: Path) -> None:
    save(model(), tmp_path / "m.onnx")
    assert read_info(tmp_path / "m.onnx") == ModelInfo()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("edgetl.labels", "cat,dog", "expected edgetl.labels to be a JSON list of class names, found 'cat,dog'"),
        ("edgetl.labels", '{"0": "cat"}', "expected edgetl.labels to be a JSON list"),
        ("edgetl.labels", '["cat", 3, "dog"]', "expected edgetl.labels to be a JSON list"),
        ("edgetl.labels", '["cat", "dog"]', "expected edgetl.labels to name each of the 3 outputs, found 2 names"),
        ("edgetl.preprocess", "{}", "expected preprocessing as JSON"),
    ],
)
def test_strangers_metadata_is_checked(tmp_path: Path, key: str, value: str, message: str) -> None:
    save(model(**{key: value}), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=f"m.onnx: {message}"):
        read_info(tmp_path / "m.onnx")


def test_cleaning_takes_notes_out_and_leaves_the_model_alone(tmp_path: Path) -> None:
    noted = model(kept="yes")
    noted.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/trace.py")
    noted.graph.metadata_props.add(key="where", value="/home/someone")
    noted.graph.input[0].doc_string = "/home/someone"
    before = noted.SerializeToString()
    assert b"/home/" not in clean(noted).SerializeToString()
    assert {prop.key for prop in clean(noted).metadata_props} == {"kept"}
    assert noted.SerializeToString() == before


def test_saving_is_whole_and_repeatable(tmp_path: Path) -> None:
    save(model(a="1", b="2"), tmp_path / "one.onnx")
    save(model(a="1", b="2"), tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.onnx", "two.onnx"]


def test_unsound_graphs_are_found(tmp_path: Path) -> None:
    save(model(), tmp_path / "sound.onnx")
    check_file(tmp_path / "sound.onnx")
    broken = model()
    broken.graph.node[0].input[0] = "nowhere"
    save(broken, tmp_path / "broken.onnx")
    with pytest.raises(InputError, match=r"expected a valid ONNX graph in broken.onnx, the ONNX checker found: .*"):
        check_file(tmp_path / "broken.onnx")
    wrong = model()
    wrong.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    save(wrong, tmp_path / "wrong.onnx")
    with pytest.raises(InputError, match="the ONNX checker found"):
        check_file(tmp_path / "wrong.onnx")
