"""The laws of a bundle: same inputs same bytes, every file covered, no local paths, graphs that stand alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgetl.bundle.check import check_bundle
from edgetl.bundle.golden import read_golden
from edgetl.bundle.golden_check import check_golden
from edgetl.bundle.graph import output_step
from edgetl.bundle.manifest import Manifest
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.errors import InputError
from edgetl.core.seen import SeenImages
from edgetl.runtime.onnx_metadata import ModelInfo, read_info

from .conftest import CLASSES, PICTURES, PREPROCESS, float_graph

PROVENANCE = {"data": "insects, 120 images", "weights": {"source": "none", "license": None}}


def make(out: Path, graphs: tuple[Path, Path], info: ModelInfo, **changes: Any) -> Bundle:
    float_path, int8_path = graphs
    given: dict[str, Any] = {
        "shipped": int8_path, "float_model": float_path, "form": "int8", "info": info,
        "golden": PICTURES, "target": "portable", "provenance": PROVENANCE,
    }  # fmt: skip
    return write_bundle(out, **(given | changes))


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(tmp_path_factory.mktemp("made") / "bundle", graphs, info)


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(bundle.path, tmp_path / "copy")


def test_same_inputs_give_the_same_bytes(bundle: Bundle, graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    again = make(tmp_path / "elsewhere" / "named-otherwise", graphs, info)
    files = {p.relative_to(bundle.path): p.read_bytes() for p in bundle.path.rglob("*") if p.is_file()}
    assert files == {p.relative_to(again.path): p.read_bytes() for p in again.path.rglob("*") if p.is_file()}
    assert again.sha256 == bundle.sha256 == hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()


def test_the_manifest_covers_every_other_file(bundle: Bundle) -> None:
    data = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))
    expected = {
        "README.md", "labels.txt", "model.float.onnx", "model.image.onnx", "model.anysize.onnx", "model.onnx",
        "model.ort", "model.image.ort", "required_operators_and_types.config",
        "manifest.schema.json", "seen.json", "golden/golden.json",
        "golden/00.png", "golden/01.jpg", "golden/02.png",
        *(f"golden/0{i}.{kind}.npy" for i in range(3) for kind in ("decoded", "resized", "input", "output", "float")),
    }  # fmt: skip
    programs = {name for name in data["files"] if name.startswith("clients/")}
    kinds = {name.split("/")[1] for name in programs}
    assert set(data["files"]) - programs == expected and kinds == {"android", "cpp", "ios", "node", "python", "web"}
    for name, sha in data["files"].items():
        assert hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() == sha


def test_the_manifest_says_what_the_graph_is(bundle: Bundle, info: ModelInfo) -> None:
    m = bundle.manifest
    session = ort.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    assert [(t.name, list(t.shape)) for t in m.inputs] == [(i.name, list(i.shape)) for i in session.get_inputs()]
    assert [(t.name, list(t.shape)) for t in m.outputs] == [(o.name, list(o.shape)) for o in session.get_outputs()]
    assert m.outputs[0].meaning.startswith("logits") and "softmax not applied" in m.outputs[0].meaning
    assert m.opset == onnx.load(bundle.model).opset_import[0].version
    assert m.size_bytes == {name: (bundle.path / name).stat().st_size for name in ("model.onnx", "model.float.onnx")}
    assert (m.task, m.classes, m.preprocess, m.shipped, m.target) == ("classification", CLASSES, PREPROCESS, "int8", "portable")
    assert m.provenance == PROVENANCE and m.split == "ab" * 32 and m.versions["onnxruntime"] == ort.__version__
    assert Manifest.from_json(m.to_json()) == m
    assert bundle.seen == info.seen


def test_labels_are_a_line_each(bundle: Bundle) -> None:
    assert (bundle.path / "labels.txt").read_bytes() == "".join(f"{name}\n" for name in CLASSES).encode()


@pytest.mark.parametrize("name", ["model.onnx", "model.float.onnx"])
def test_graphs_stand_alone(bundle: Bundle, name: str) -> None:
    onnx.checker.check_model(bundle.path / name, full_check=True)
    found = read_info(bundle.path / name)
    assert (found.classes, found.preprocess) == (CLASSES, PREPROCESS)
    assert b"from the exporter" not in (bundle.path / name).read_bytes()


def test_a_graph_that_already_carries_everything_is_copied_byte_for_byte(bundle: Bundle, info: ModelInfo, tmp_path: Path) -> None:
    again = make(tmp_path / "again", (bundle.float_model, bundle.model), info)
    assert again.model.read_bytes() == bundle.model.read_bytes()
    assert again.sha256 == bundle.sha256


def test_golden_vectors_agree_with_onnxruntime(bundle: Bundle) -> None:
    golden = json.loads((bundle.path / "golden/golden.json").read_text(encoding="utf-8"))
    for (data, _), entry in zip(PICTURES, golden["images"], strict=True):
        x = np.load(bundle.path / "golden" / entry["input"])
        assert (bundle.path / "golden" / entry["image"]).read_bytes() == data
        np.testing.assert_array_equal(x, PREPROCESS(data)[None])
        for model in ("model.onnx", "model.float.onnx"):
            (expected,) = ort.InferenceSession(bundle.path / model, providers=["CPUExecutionProvider"]).run(None, {"image": x})
            np.testing.assert_array_equal(np.load(bundle.path / "golden" / entry["outputs"][model]), expected)
            assert entry["answers"][model] == CLASSES[int(expected.argmax())]
    assert check_golden(bundle) == []


def test_int8_outputs_are_whole_steps_and_may_be_off_by_two_or_by_what_rounding_costs(bundle: Bundle) -> None:
    golden, step = read_golden(bundle.path), output_step(bundle.model)
    assert step is not None and output_step(bundle.float_model) is None
    rows = {
        name: np.concatenate([np.load(bundle.path / "golden" / entry.outputs[name]) for entry in golden.images])
        for name in ("model.onnx", "model.float.onnx")
    }
    steps = rows["model.onnx"] / step
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    rounding = 4 * (rows["model.onnx"] - rows["model.float.onnx"]).std()
    assert golden.tolerances["model.onnx"].abs == pytest.approx(max(2 * step, min(rounding, 0.05 * rows["model.onnx"].max())), rel=0.05)


def test_a_float_model_may_be_off_by_sums_in_another_order(bundle: Bundle) -> None:
    allowed = read_golden(bundle.path).tolerances["model.float.onnx"]
    assert allowed.rel == 1e-3 and allowed.abs < 1e-2


def test_golden_vectors_find_another_network(copy: Path, bundle: Bundle) -> None:
    onnx.save_model(float_graph(seed=1), copy / "model.float.onnx")
    problems = check_golden(replace(bundle, path=copy))
    assert problems and all("model.float.onnx" in problem for problem in problems)


def test_golden_vectors_find_another_resize_filter(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, preprocess=replace(PREPROCESS, filter="bilinear"))
    problems = check_golden(replace(bundle, manifest=manifest))
    assert len(problems) == 2 and all("levels" in problem for problem in problems)  # the third picture is not resized


def test_what_file_managers_leave_in_a_bundle_does_it_no_harm(copy: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "golden/._00.png", "golden/@eaDir/x.jpg"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"no part of it")
    assert open_bundle(copy).path == copy


def test_what_is_built_below_clients_does_a_bundle_no_harm(copy: Path) -> None:
    """As `cc`, Gradle, XcodeGen and `swift build` leave it; a client that is changed or missing is still named."""
    built = ("cpp/program", "android/local.properties", "android/app/build/out.apk", "ios/App/Classify.xcodeproj/project.pbxproj")
    for name in (*built, "ios/App/Info.plist", "ios/Package.resolved", "cpp/build/classify"):
        (copy / "clients" / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / "clients" / name).write_bytes(b"built")
    assert open_bundle(copy).path == copy
    assert [finding for finding in check_bundle(copy) if finding.problems] == []
    (copy / "clients/python/classify.py").write_text("changed", encoding="utf-8")
    (copy / "clients/node/classify.mjs").unlink()
    with pytest.raises(InputError) as error:
        open_bundle(copy)
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[1:3] == ["clients/node/classify.mjs: missing", "clients/python/classify.py: changed"]


def test_every_changed_missing_or_added_file_is_named(copy: Path) -> None:
    (copy / "labels.txt").write_text("bee\n", encoding="utf-8")
    (copy / "golden" / "00.png").unlink()
    (copy / "golden" / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(InputError) as error:
        open_bundle(copy)
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[1:4] == ["golden/00.png: missing", "labels.txt: changed", "golden/notes.txt: not in the manifest"]


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a bundle .* found a folder without it"):
        open_bundle(tmp_path)


def test_a_damaged_manifest_is_explained(copy: Path) -> None:
    data = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    del data["classes"]
    data["preprocess"]["size"] = "24"
    (copy / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError) as error:
        open_bundle(copy)
    assert "classes: " in str(error.value) and "preprocess.size: " in str(error.value)


def test_local_paths_are_refused_and_named(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: /home/ada/") as error:
        make(tmp_path / "one", graphs, info, provenance={"data": "/home/ada/photos"})
    assert "README.md: /home/ada/" in str(error.value)
    traced = replace(info, extra={"exporter": "File /opt/lib/export/trace.py, line 3"})
    with pytest.raises(InputError, match=r"model\.onnx: /opt/lib/export/trace\.py"):
        make(tmp_path / "two", graphs, traced)
    make(tmp_path / "three", graphs, info, provenance={"data": "https://example.org/data/home.html"})


def test_class_names_and_preprocess_must_be_known(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"class names and preprocessing, found none.*give --labels"):
        make(tmp_path / "a", graphs, ModelInfo())
    with pytest.raises(InputError, match=r"one line each .* 'ant\\nbee'"):
        make(tmp_path / "b", graphs, replace(info, classes=("ant\nbee", *CLASSES[1:])))
    with pytest.raises(InputError, match="each of the 7 outputs, found 6"):
        make(tmp_path / "c", graphs, replace(info, classes=CLASSES[1:]))


def test_nothing_is_overwritten(copy: Path, graphs: tuple[Path, Path], info: ModelInfo) -> None:
    with pytest.raises(InputError, match="expected an empty folder"):
        make(copy, graphs, info)


def test_a_float_bundle_ships_one_graph_twice(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    bundle = make(tmp_path / "float", graphs, replace(info, seen=None), shipped=graphs[0], form="float")
    assert bundle.model.read_bytes() == bundle.float_model.read_bytes()
    assert bundle.manifest.split is None and bundle.seen == SeenImages(split="", parts={})
    assert check_golden(bundle) == []
    assert "int8 form" not in (bundle.path / "README.md").read_text(encoding="utf-8")  # none was tried, as far as is known


def test_a_float_bundle_says_that_int8_lost_too_much_only_where_it_was_tried(
    graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path
) -> None:
    bundle = make(tmp_path / "float", graphs, info, shipped=graphs[0], form="float", int8_lost=True)
    assert "its int8 form lost too much" in (bundle.path / "README.md").read_text(encoding="utf-8")
