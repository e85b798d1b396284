"""`edgetl export` of files alone: int8 of any origin, --zip."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_static

from edgetl.bundle.check import check_bundle
from edgetl.bundle.read import open_bundle
from edgetl.cli.options import given_preprocess
from edgetl.cli.origin import origin_of
from edgetl.cli.stages import export, quantize
from edgetl.core.errors import InputError
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.metrics.confidence import fit_temperature
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings, ExportSettings, QuantizeSettings

from ..conftest import Ended
from ..test_answers import nearest_color, photos, prepared
from ..test_honest import bursts
from .test_stages import LABELS, network, tensors

__all__ = ["prepared"]  # a fixture


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with an int8 file alone, its labels and how images are prepared."""
    quantize(
        network(tmp_path / "m.onnx"), tensors(tmp_path / "c.npz", 40, 0), tmp_path / "made" / "q.onnx", QuantizeSettings(tune_images=0)
    )
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "q.onnx").write_bytes((tmp_path / "made" / "q.onnx").read_bytes())
    (tmp_path / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS), encoding="utf-8")
    return tmp_path


Command = Callable[..., Ended]


@pytest.fixture
def command(edgetl: Command, given: Path) -> Command:
    labels, preprocess = given / "labels.txt", given / "p.json"

    def run(out: Path, *more: str) -> Ended:
        return edgetl("export", given / "alone" / "q.onnx", "--out", out, "--labels", labels, "--preprocess", preprocess, *more)

    return run


def test_an_int8_file_alone_becomes_a_whole_bundle_and_a_zip_of_the_same_bytes(given: Path, command: Command) -> None:
    for name in ("one", "two"):
        done = command(given / name / "bundle", "--golden-images", "2", "--zip")
        assert done.returncode == 0, done.stderr
        assert "computes without rounding" in done.stderr
    bundle = open_bundle(given / "one" / "bundle")
    assert bundle.manifest.shipped == "int8" and bundle.manifest.target == "portable"
    assert "was not given" in (bundle.path / "README.md").read_text(encoding="utf-8")
    assert [finding for finding in check_bundle(bundle.path) if finding.problems] == []
    packed = given / "one" / "bundle.zip"
    assert packed.read_bytes() == (given / "two" / "bundle.zip").read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {f"bundle/{name}" for name in (*bundle.manifest.files, "manifest.json")}
        archive.extractall(given / "unpacked")
    assert open_bundle(given / "unpacked" / "bundle").sha256 == bundle.sha256


def test_an_int8_file_of_another_tool_ships_as_what_its_weights_are(given: Path) -> None:
    """Made by onnxruntime from all layers, or from the Convs alone."""
    name = onnx.load(given / "m.onnx").graph.input[0].name
    for kinds in (["Conv", "Gemm", "MatMul"], ["Conv"]):
        feeds = iter([{name: np.load(given / "c.npz")["x"][:8]}])
        reader = SimpleNamespace(get_next=lambda feeds=feeds: next(feeds, None))
        quantize_static(given / "m.onnx", given / f"{len(kinds)}.onnx", reader, op_types_to_quantize=kinds)
    with Workspace(given / "work") as do:
        assert [origin_of(given / f"{count}.onnx", do).shipped for count in (3, 1)] == ["int8", "mixed"]


def test_int8_in_operators_on_integers_is_refused_with_what_to_do(given: Path) -> None:
    model = onnx.load(given / "m.onnx")
    nodes = [
        onnx.helper.make_node("DynamicQuantizeLinear", ["flat"], ["codes", "step", "zero"]),
        onnx.helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["again"]),
    ]
    last = model.graph.node[-1]
    last.input[0] = "again"
    model.graph.node.extend([*nodes, last])
    del model.graph.node[4]
    onnx.save(model, given / "d.onnx")
    with pytest.raises(InputError, match="QDQ"):
        export(
            given / "d.onnx", given / "out", ExportSettings(golden_images=1), open_images(None, DataSettings()).only("val"),
            labels=given / "labels.txt", preprocess=str(given / "p.json"),
        )  # fmt: skip
    assert not (given / "out").exists()


def test_the_float_form_of_an_int8_file_stands_near_it(given: Path, command: Command) -> None:
    assert command(given / "out", "--golden-images", "3").returncode == 0
    for number in range(3):
        rounded, plain = (np.load(given / "out" / "golden" / f"0{number}.{kind}.npy") for kind in ("output", "float"))
        assert 0 < np.abs(rounded - plain).max() < 0.1 * np.abs(plain).max()


def test_labelled_images_give_a_temperature_and_a_threshold(given: Path, command: Command) -> None:
    evaluation, file = tensors(given / "val.npz", 80, 5, labels=True), given / "alone" / "q.onnx"
    stored = np.load(evaluation)
    logits = open_session(file).compute(stored["x"])
    np.savez(evaluation, x=stored["x"], y=np.where(np.arange(80) % 5, logits.argmax(axis=1), stored["y"]))  # right on four of five at least
    done = command(given / "out", "--golden-images", "1", "--eval", str(evaluation), "--min-precision", "0.75")
    assert done.returncode == 0, done.stderr
    rule, labels = open_bundle(given / "out").manifest.decision, np.load(evaluation)["y"]
    assert rule is not None and (rule.images, rule.wanted_precision) == (80, 0.75)
    assert rule.temperature == pytest.approx(fit_temperature(logits, labels), rel=1e-3)
    assert rule.reach in ("shown", "measured") and rule.precision is not None and rule.precision >= 0.75
    golden = json.loads((given / "out/golden/golden.json").read_text(encoding="utf-8"))
    assert golden["temperature"] == rule.temperature
    assert command(given / "plain", "--golden-images", "1").returncode == 0
    assert open_bundle(given / "plain").manifest.decision is None


@pytest.mark.parametrize("rows", [False, True])
def test_a_threshold_of_forty_scenes_of_five_frames_is_measured_not_shown(tmp_path: Path, prepared: str, rows: bool) -> None:
    """As a folder and as rows of an .npz: 200 frames are 40 scenes. All are answered rightly; of 40 that shows 93% at most."""
    folder = bursts(tmp_path / "bursts", 20, 5)
    model, judged = nearest_color(tmp_path / "m.onnx", 2), folder
    if rows:
        files, judged = sorted(folder.rglob("*.jpg")), tmp_path / "bursts.npz"
        preprocess = given_preprocess(prepared)
        assert preprocess is not None
        x = np.stack([preprocess(file.read_bytes()) for file in files])
        np.savez(judged, x=x, y=np.array([file.parent.name == "b" for file in files]).astype(np.int64))
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    few = open_images(str(photos(tmp_path / "few", {"a": 6, "b": 6}, seed=3)), DataSettings())
    bundle = export(
        model,
        tmp_path / "out",
        ExportSettings(golden_images=1, min_precision=0.95),
        few,
        labels=tmp_path / "labels.txt",
        preprocess=prepared,
        evaluation=str(judged),
    )
    rule = open_bundle(bundle.path).manifest.decision
    assert rule is not None and (rule.images, rule.precision, rule.reach) == (200, 1.0, "measured")


def test_images_without_labels_fit_no_decision(given: Path, command: Command) -> None:
    done = command(given / "out", "--golden-images", "1", "--eval", str(tensors(given / "val.npz", 40, 5)))
    assert done.returncode == 2 and "`y`" in done.stderr and not (given / "out").exists()
