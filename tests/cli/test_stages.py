"""Laws of one stage alone, on files: what `quantize`, `export`, `verify` and `predict` do with models of others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.bundle import predict as bundle_predict
from edgetl.bundle.predict import predict
from edgetl.bundle.read import open_bundle
from edgetl.cli.origin import names_of
from edgetl.cli.stages import export, quantize
from edgetl.cli.verify import verify
from edgetl.core.errors import InputError, WorkspaceError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.quantization.candidates import unsaturated
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings, ExportSettings, QuantizeSettings, VerifySettings

from ..conftest import Told, write_csv

QUICK = QuantizeSettings(tune_images=0)  # where the numbers do not matter
LABELS = tuple(f"digit {i}" for i in range(10))


def network(path: Path, size: int = 32) -> Path:
    """A foreign float classifier: convolution, ReLU, pooling, ten outputs; no metadata."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(scale=0.3, size=(8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(scale=0.1, size=8).astype(np.float32),
        "f": rng.normal(size=(8, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["flat"]),
        helper.make_node("MatMul", ["flat", "f"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def tensors(path: Path, count: int, seed: int, labels: bool = False) -> Path:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3, 32, 32)).astype(np.float32) * rng.uniform(0.2, 2, size=(count, 3, 1, 1)).astype(np.float32)
    np.savez(path, x=x, **({"y": np.arange(count) % 10} if labels else {}))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return network(tmp_path / "model.onnx")


def test_the_output_is_whole_and_its_work_folder_says_why(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    result = quantize(model, tensors(tmp_path / "c.npz", 40, 0), out, QuantizeSettings(target="x86"))
    assert out.read_bytes() == result.int8.path.read_bytes()
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(out).graph.node)
    decisions = json.loads(next(tmp_path.glob("q.onnx.work/stages/quantize-*/decisions.json")).read_text(encoding="utf-8"))
    assert decisions["decision"]["shipped"] == "int8" and decisions["quantization"]["images"] == 40
    names = json.loads(next(tmp_path.glob("q.onnx.work/stages/quantize-*/names.json")).read_text(encoding="utf-8"))
    assert names == decisions["quantization"]["names"] and names_of(out).path.read_text(encoding="utf-8").startswith("{")  # type: ignore[union-attr]
    assert names_of(model) is None
    assert not list(tmp_path.glob("*inferred*")) and not list(tmp_path.glob(".*.new"))


def test_the_same_line_again_does_nothing_again(model: Path, tmp_path: Path) -> None:
    calibration, out = tensors(tmp_path / "c.npz", 40, 0), tmp_path / "q.onnx"
    quantize(model, calibration, out, QUICK)
    result = next(tmp_path.glob("q.onnx.work/stages/quantize-*/result.json"))
    first, bytes_before = result.stat().st_mtime_ns, out.read_bytes()
    quantize(model, calibration, out, QUICK)
    assert result.stat().st_mtime_ns == first and out.read_bytes() == bytes_before


def test_a_refused_calibration_leaves_an_older_output_alone(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    out.write_bytes(b"yesterday's")
    np.savez(tmp_path / "odd.npz", x=np.zeros((4, 3, 16, 16), dtype=np.float32))
    with pytest.raises(InputError, match=r"\[.*32, 32\].*16"):
        quantize(model, tmp_path / "odd.npz", out, QUICK)
    assert out.read_bytes() == b"yesterday's"


def test_a_model_that_is_refused_leaves_no_work_folder(model: Path, tmp_path: Path) -> None:
    calibration, out = tensors(tmp_path / "c.npz", 40, 0), tmp_path / "q.onnx"
    quantize(model, calibration, out, QUICK)
    with pytest.raises(InputError, match=r"found that q\.onnx is quantized already .* Give the float model"):
        quantize(out, tensors(tmp_path / "other.npz", 40, 1), tmp_path / "again.onnx", QUICK)
    assert not list(tmp_path.glob("again.onnx*"))


def test_photos_need_to_be_told_how_they_are_prepared(model: Path, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "calibration" / "digits"
    with pytest.raises(InputError, match=r"--preprocess"):
        quantize(model, folder, tmp_path / "q.onnx", QUICK)
    (tmp_path / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    quantize(model, folder, tmp_path / "q.onnx", QUICK, preprocess=str(tmp_path / "p.json"))
    assert (tmp_path / "q.onnx").stat().st_size > 0


def test_a_foreign_model_can_be_verified_against_its_reference(model: Path, tmp_path: Path) -> None:
    out, test = tmp_path / "q.onnx", tensors(tmp_path / "t.npz", 60, 1, labels=True)
    quantize(model, tensors(tmp_path / "c.npz", 40, 0), out, QUICK)
    with Workspace(tmp_path / "verdict") as do:
        verdict = verify(out, str(test), do, VerifySettings(latency_runs=5, max_drop=0.2), reference=model)
    report = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    assert report["parity"]["end_to_end"]["images"] == 60 and report["parity"]["end_to_end"]["agreement"] > 0.8
    assert report["bundle_sha256"] is None and "student" not in report["models"]


def test_images_it_was_calibrated_on_may_not_judge_it(model: Path, tmp_path: Path) -> None:
    calibration = tensors(tmp_path / "c.npz", 40, 0, labels=True)
    quantize(model, calibration, tmp_path / "q.onnx", QUICK)
    with Workspace(tmp_path / "verdict") as do, pytest.raises(InputError, match=r"found 40 of 40 .*\n  row 0 \(calibration\)"):
        verify(tmp_path / "q.onnx", str(calibration), do, VerifySettings(), reference=model)


def test_of_several_calibrations_the_one_that_gave_the_file_counts(model: Path, tmp_path: Path) -> None:
    sets = [tensors(tmp_path / f"c{seed}.npz", 40, seed, labels=True) for seed in (0, 1)]
    for calibration in (*sets, sets[0]):
        quantize(model, calibration, tmp_path / "q.onnx", QUICK)
        with Workspace(tmp_path / "verdict") as do, pytest.raises(InputError, match=r"found 40 of 40"):
            verify(tmp_path / "q.onnx", str(calibration), do, VerifySettings(), reference=model)


def test_a_foreign_model_becomes_a_bundle_once_its_labels_are_given(model: Path, tmp_path: Path) -> None:
    images = open_images(None, DataSettings()).only("val")
    (tmp_path / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS), encoding="utf-8")
    with pytest.raises(InputError, match="class names"):
        export(model, tmp_path / "bundle", ExportSettings(golden_images=2), images, preprocess=str(tmp_path / "p.json"))
    assert not (tmp_path / "bundle").exists()
    made = export(
        model,
        tmp_path / "bundle",
        ExportSettings(golden_images=2),
        images,
        labels=tmp_path / "labels.txt",
        preprocess=str(tmp_path / "p.json"),
    )
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.sha256 == made.sha256 and bundle.manifest.classes == LABELS and bundle.manifest.shipped == "float"


def test_another_number_of_labels_than_outputs_is_named_before_anything_is_made(model: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    images = open_images(None, DataSettings()).only("val")
    with pytest.raises(InputError, match=rf"a name for each of the {len(LABELS)} outputs in .*labels\.txt, found 2 names"):
        export(model, tmp_path / "bundle", ExportSettings(), images, labels=tmp_path / "labels.txt", preprocess="imagenet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", model.name]


def test_a_folder_of_the_users_is_never_overwritten_by_a_bundle(model: Path, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="found other files there"):
        export(model, tmp_path / "documents", ExportSettings(), open_images(None, DataSettings()).only("val"))
    assert (tmp_path / "documents" / "letter.txt").read_text(encoding="utf-8") == "dear"


def test_an_exported_int8_model_brings_its_float_graph_and_record_along(model: Path, tmp_path: Path) -> None:
    calibration = tensors(tmp_path / "c.npz", 40, 0)
    quantize(model, calibration, tmp_path / "q.onnx", QuantizeSettings(target="x86", tune_images=0))
    (tmp_path / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS), encoding="utf-8")
    images = open_images(None, DataSettings()).only("val")
    export(
        tmp_path / "q.onnx",
        tmp_path / "bundle",
        ExportSettings(golden_images=1),
        images,
        labels=tmp_path / "labels.txt",
        preprocess=str(tmp_path / "p.json"),
    )
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.shipped == "int8" and bundle.manifest.target == "x86" and len(bundle.seen.parts["calibration"]) == 40
    folder = Path(__file__).parents[2] / "calibration" / "digits"
    found = list(predict(tmp_path / "bundle", [folder]))
    write_csv(tmp_path / "answers.csv", found)
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60 and {row["answer"] for row in rows} <= set(LABELS)


def strong(path: Path, count: int, seed: int, model: Path) -> Path:
    """Images much stronger than those of `tensors`, labelled with what the float model answers."""
    x = 6 * np.random.default_rng(seed).normal(size=(count, 3, 32, 32)).astype(np.float32)
    x *= np.random.default_rng(seed + 1).uniform(0.2, 2, size=(count, 3, 1, 1)).astype(np.float32)
    np.savez(path, x=x, y=open_session(model).run(x).argmax(1))
    return path


def test_what_int8_loses_too_much_on_ships_mixed_and_says_so_everywhere(model: Path, tmp_path: Path) -> None:
    """In float the last layer keeps two classes that int8 loses; the bundle and the verdict know the graph for what it is."""
    calibration, out = tensors(tmp_path / "c.npz", 40, 0), tmp_path / "q.onnx"
    images = strong(tmp_path / "val.npz", 300, 5, model)
    plain = quantize(model, calibration, tmp_path / "plain.onnx", QuantizeSettings(target="arm64")).decision
    found = quantize(model, calibration, out, QuantizeSettings(target="arm64", max_drop=0.2), evaluation=str(images)).decision
    assert plain.shipped == "int8" and plain.within is None
    assert found.shipped == "mixed" and found.within and found.drop is not None and found.drop < 0.2
    (decisions,) = tmp_path.glob("q.onnx.work/stages/quantize-*/decisions.json")
    log = json.loads(decisions.read_text(encoding="utf-8"))["quantization"]
    assert len(log["floating"]) == 1 and log["evaluations"][0]["lost"] and not log["evaluations"][-1]["lost"]
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    (tmp_path / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    golden, few = open_images(None, DataSettings()).only("val"), ExportSettings(golden_images=2)
    bundle = export(out, tmp_path / "bundle", few, golden, labels=tmp_path / "labels.txt", preprocess=str(tmp_path / "p.json"))
    assert open_bundle(bundle.path).manifest.shipped == "mixed"
    with Workspace(tmp_path / "verdict") as do:
        verdict = verify(bundle.path, str(strong(tmp_path / "test.npz", 300, 9, model)), do, VerifySettings(max_drop=0.2, latency_runs=5))
    report = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    assert verdict.shipped == report["shipped"] == "mixed" and "onnx_int8" in report["models"]
    assert report["kernels"]["float_layers"]


@pytest.mark.parametrize("target", ["arm64", "portable"])
def test_where_this_cpu_saturates_and_the_target_does_not_every_command_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    for place in (unsaturated, bundle_predict):
        monkeypatch.setattr(place, "saturates_here", lambda: True)
        monkeypatch.setattr(place, "cpu_name", lambda: "Some CPU")
    out, calibration, ear, told = tmp_path / "q.onnx", tensors(tmp_path / "c.npz", 40, 0), Told(), int(target == "arm64")
    with listening(ear):
        quantize(model, calibration, out, QuantizeSettings(target=target, tune_images=0))
    said = "quantize: int8 sums saturate on this CPU (Some CPU), but not on the target arm64. edgetl therefore judges with exact arithmetic"
    assert sum(line.startswith(said) for line in ear.lines) == told
    with Workspace(tmp_path / "verdict") as do:
        verdict = verify(out, str(tensors(tmp_path / "t.npz", 60, 3, labels=True)), do, VerifySettings(latency_runs=5), reference=model)
    notes = json.loads(verdict.report.path.read_text(encoding="utf-8")).get("notes", [])
    assert sum("It is made for arm64, so it is judged by exact arithmetic" in note for note in notes) == told
    with listening(ear):
        folder = Path(__file__).parents[2] / "calibration" / "digits"
        list(predict(out, [folder], preprocess=Preprocess(size=32, resize=32)))
    assert sum(line.startswith("warning: q.onnx is made for arm64. int8 sums saturate on this CPU") for line in ear.lines) == told
