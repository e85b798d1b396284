"""clients/c/: written where it is asked for, checked with the other clients, told in the manifest and the README; and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgetl.bundle.check import check_bundle
from edgetl.bundle.client_runs import run_clients
from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.finding import Finding
from edgetl.bundle.golden import read_golden
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.canonical import canonical
from edgetl.core.errors import InputError
from edgetl.quantization.engine import quantize
from edgetl.quantization.graph.editing import without_unread
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.runtime.session import open_session
from edgetl.settings import ExportSettings

from .conftest import CLASSES, PICTURES, PREPROCESS, float_graph, picture

FILES = ("check.c", "classifier.c", "classifier.h", "footprint.json")


def written(out: Path, graphs: tuple[Path, Path], info: ModelInfo, **more: Any) -> Bundle:
    given = {"shipped": graphs[1], "form": "int8", "target": "portable", "provenance": {}, **more}
    return write_bundle(out, float_model=graphs[0], info=info, golden=PICTURES, **given)


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return written(tmp_path_factory.mktemp("c") / "bundle", graphs, info, c=True)


def test_it_is_part_of_the_bundle_and_its_bytes_are_told(bundle: Bundle) -> None:
    folder = bundle.path / "clients" / "c"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert {f"clients/c/{name}" for name in FILES} <= set(bundle.manifest.files)
    said = open_bundle(bundle.path).manifest.c
    assert said is not None and said.flash_bytes > said.table_bytes > 0 and said.ram_bytes > said.arena_bytes > 0
    assert f"#define CLASSIFIER_ARENA_BYTES {said.arena_bytes} " in (folder / "classifier.h").read_text(encoding="utf-8")
    assert "`clients/c/` | the network in C99" in (bundle.path / "README.md").read_text(encoding="utf-8")


def test_class_names_of_any_language_are_c_strings(bundle: Bundle) -> None:
    text = (bundle.path / "clients" / "c" / "classifier.c").read_text(encoding="ascii")
    assert r'"\303\251t\303\251"' in text and len(CLASSES) == 7


def test_without_it_nothing_of_it_is_there(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    plain = written(tmp_path / "bundle", graphs, info)
    assert not (plain.path / "clients" / "c").exists() and plain.manifest.c is None
    assert '"c": {' not in (plain.path / "manifest.json").read_text(encoding="utf-8")
    assert "clients/c/" not in (plain.path / "README.md").read_text(encoding="utf-8")


def test_the_same_inputs_give_the_same_bytes(bundle: Bundle, graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    again = written(tmp_path / "bundle", graphs, info, c=True)
    assert again.sha256 == bundle.sha256


def test_bundle_check_compiles_it_and_names_the_image_that_differs(bundle: Bundle, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    found = {finding.part: finding for finding in check_bundle(bundle.path)}
    assert found["client c"].problems == () and found["client c"].skipped is None
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    pixels = np.load(copy / "golden" / "01.resized.npy")
    np.save(copy / "golden" / "01.resized.npy", pixels[..., ::-1].copy())  # BGR
    client = next(finding for finding in run_clients(copy, browser=False) if finding.part == "client c")
    assert client.skipped is None
    assert client.problems[0].startswith("01: logits diverge") and client.problems[0].endswith("of 3 golden vectors 2 agree")


def test_another_decision_is_found(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    rule = DecisionRule(
        temperature=2.0,
        ece_before=0.1,
        ece_after=0.1,
        threshold=0.999,
        wanted_precision=0.9,
        precision=0.9,
        coverage=0.5,
        reach="shown",
        images=99,
    )
    made = written(tmp_path / "bundle", graphs, info, c=True, decision=rule)
    assert [image.decision for image in read_golden(made.path).images] == ["unknown"] * 3
    assert list(run_clients(made.path, browser=False))[-1] == Finding(part="client c")
    code = made.path / "clients/c/classifier.c"
    text = code.read_text(encoding="ascii")
    assert text.count(">= CLASSIFIER_THRESHOLD") == 1
    code.write_text(text.replace(">= CLASSIFIER_THRESHOLD", ">= 0"), encoding="ascii")
    assert list(run_clients(made.path, browser=False))[-1].problems == ("00: decision: the golden logits decide otherwise here",)


def test_a_float_model_is_refused(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an int8 model for --c, found a float model"):
        written(tmp_path / "bundle", graphs, info, shipped=graphs[0], form="float", c=True)


def own_head(folder: Path) -> tuple[Path, Path]:
    """The float and the int8 graph of a network whose logits are means, as SqueezeNet's own head makes them."""
    model = float_graph()
    kept = [node for node in model.graph.node if node.op_type != "Gemm"]
    weights = np.random.default_rng(5).normal(0, 0.5, (len(CLASSES), 8, 1, 1)).astype(np.float32)
    kept[-1].output[0] = "logits"
    kept[-2].input[0] = "c2"
    kept.insert(2, helper.make_node("Conv", ["r", "second"], ["c2"], name="last"))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.append(numpy_helper.from_array(weights, "second"))
    onnx.save_model(without_unread(model), folder / "float.onnx")
    calibration = Arrays(np.concatenate([PREPROCESS(picture(seed, 40, 40))[None] for seed in range(32)]))
    quantize(folder / "float.onnx", calibration, target="portable", out=folder / "int8.onnx", threads=1, tune_images=0)
    return folder / "float.onnx", folder / "int8.onnx"


def test_logits_that_are_means_are_summed_in_whole_numbers(info: ModelInfo, tmp_path: Path) -> None:
    """With C code the graphs of the bundle are written so, and all agree; without it the int8 file stays as it is."""
    graphs = own_head(tmp_path)
    plain, coded = written(tmp_path / "plain", graphs, info), written(tmp_path / "coded", graphs, info, c=True)
    tails = [[node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node][-4:] for bundle in (plain, coded)]
    assert tails[0][-2:] == ["GlobalAveragePool", tails[0][-1]] and tails[1][-3:] == ["GlobalAveragePool", "Mul", tails[0][-1]]
    outputs = [open_session(bundle.path / "model.onnx").compute(PREPROCESS(picture(9, 40, 40))[None]) for bundle in (plain, coded)]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    parts = {finding.part: finding for finding in check_bundle(coded.path)}
    assert {name: finding.problems for name, finding in parts.items() if finding.problems} == {}
    assert parts["client c"].state == ("ok" if any(map(shutil.which, ("cc", "gcc", "clang"))) else "not run")


def test_keys_of_what_was_made_before_stay() -> None:
    assert "c" not in canonical(ExportSettings())  # type: ignore[operator]
    assert canonical(ExportSettings(c=True)) == {**canonical(ExportSettings()), "c": True}  # type: ignore[dict-item]
