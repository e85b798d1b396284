"""Laws of models of others and what their outputs mean: no verdict without a model that answers, whatever its file looks like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetl.bundle.predict import open_classifier, predict
from edgetl.bundle.read import open_bundle
from edgetl.cli.console import show_report, shown
from edgetl.cli.stages import export, quantize
from edgetl.cli.verify import verify
from edgetl.core.errors import InputError
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.report.decision import Decision
from edgetl.report.html import render
from edgetl.runtime import latency
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import Session, open_session
from edgetl.settings import DataSettings, ExportSettings, QuantizeSettings, VerifySettings

SIDE = 16
BRIGHT = [(200, 60, 60), (60, 60, 200), (60, 200, 60), (200, 200, 60), (200, 60, 200), (60, 200, 200)]
OTHERS = [(120, 120, 120), (240, 160, 80), (80, 40, 10), (20, 20, 20), (235, 235, 235), (100, 150, 240)]
COLORS = np.array([*BRIGHT, *OTHERS])
QUICK, JUDGE = QuantizeSettings(tune_images=0), VerifySettings(latency_runs=5, thumbnails=0)
Nodes = list[onnx.NodeProto]


def nearest_color(
    path: Path,
    classes: int,
    *,
    order: list[int] | None = None,
    head: str = "logits",
    outputs: dict[str, int] | None = None,
    tail: Nodes | None = None,
    weights: dict[str, NDArray[Any]] | None = None,
    shape: tuple[int | str, ...] = ("n", 3, SIDE, SIDE),
    bias: NDArray[np.float32] | None = None,
) -> Path:
    """A classifier that is right about `photos`: outputs are 80 c.m - 40 c.c, m the mean color, c the classes' colors in `order`."""
    centers = (COLORS[order or list(range(classes))] / 255).astype(np.float32)
    stored = {
        "w": np.stack([np.full((3, 3, 3), 0, np.float32)] * 3), "b": np.zeros(3, np.float32),
        "head": 80 * centers, "at": -40 * (centers**2).sum(1) if bias is None else bias, **(weights or {}),
    }  # fmt: skip
    for channel in range(3):
        stored["w"][channel, channel] = 1 / 9
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "head", "at"], [head], transB=1),
        *(tail or []),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in (outputs or {"logits": classes}).items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def sigmoid_net(path: Path, bias: float = 0.0, tail: bool = True) -> Path:
    """One output: the probability of red, the second class after blue; without `tail`, its log odds."""
    last = [helper.make_node("Sigmoid", ["z"], ["p"])] if tail else []
    weights = {"head": np.array([[20, 0, -20]], np.float32), "at": np.array([bias], np.float32)}
    return nearest_color(path, 1, head="z", tail=last, weights=weights, outputs={"p" if tail else "z": 1})


def photos(root: Path, counts: dict[str, int], colors: list[int] | None = None, seed: int = 0) -> Path:
    """Class folders; the photos of each class are blotches around its color."""
    rng = np.random.default_rng(seed)
    for index, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            color = COLORS[colors[index] if colors else index]
            blotches = np.clip(color + rng.normal(0, 30, (4, 4, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(blotches).resize((SIDE, SIDE)).save(root / name / f"{seed}-{number}.png")
    return root


@pytest.fixture
def prepared(tmp_path: Path) -> str:
    (tmp_path / "p.json").write_text(json.dumps({"size": SIDE, "resize": SIDE, "mean": [0, 0, 0], "std": [1, 1, 1]}), encoding="utf-8")
    return str(tmp_path / "p.json")


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    rng = np.random.default_rng(9)
    x = rng.random((24, 3, SIDE, SIDE), dtype=np.float32) * 0.5 + rng.random((24, 3, 1, 1), dtype=np.float32) * 0.5
    np.savez(tmp_path / "c.npz", x=x)
    return tmp_path / "c.npz"


def judged(candidate: Path, reference: Path, data: Path, tmp_path: Path, prepared: str | None = None, **options: Any) -> dict[str, Any]:
    """The report of `verify`."""
    settings = options.pop("settings", JUDGE)
    with Workspace(tmp_path / "verdict") as do:
        verdict = verify(candidate, str(data), do, settings, reference=reference, preprocess=prepared, **options)
    report: dict[str, Any] = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    return report


def decided(model: Path, calibration: Path, data: Path, tmp_path: Path, prepared: str, **options: Any) -> Decision:
    """The decision of `quantize --eval`."""
    out = tmp_path / "q.onnx"
    return quantize(model, calibration, out, QUICK, evaluation=str(data), preprocess=prepared, **options).decision


# answers that are none


def test_not_finite_outputs_are_refused_and_the_images_named(tmp_path: Path, prepared: str, calibration: Path) -> None:
    tail = [helper.make_node("Gather", ["f", "red"], ["r"], axis=1), helper.make_node("Sub", ["r", "half"], ["s"]),
            helper.make_node("Sqrt", ["s"], ["q"]), helper.make_node("Add", ["z", "q"], ["logits"])]  # fmt: skip
    weights = {"red": np.array([0], np.int64), "half": np.array([[0.5]], np.float32)}
    some = nearest_color(tmp_path / "some.onnx", 2, head="z", tail=tail, weights=weights)
    good, data = nearest_color(tmp_path / "good.onnx", 2), photos(tmp_path / "data", {"a": 6, "b": 6})  # a is red, b blue
    for candidate, reference in ((some, some), (some, good), (good, some)):
        with pytest.raises(InputError, match=r"finite outputs of some.onnx, found NaN or infinity for 6 of 12 images:\n  b/"):
            judged(candidate, reference, data, tmp_path, prepared)
    with pytest.raises(InputError, match=r"finite outputs of some.onnx"):
        decided(some, calibration, data, tmp_path, prepared)
    with pytest.raises(InputError, match=r"finite outputs of some.onnx, .*\n  row \d+"):
        quantize(some, calibration, tmp_path / "q.onnx", QUICK)
    answers = {p.path.name: p for p in predict(some, [data / "a", data / "b"], preprocess=open_preprocess(prepared))}
    assert [p.answer for p in answers.values()].count(None) == 6 and "NaN or infinity" in next(p.error for p in answers.values() if p.error)


def open_preprocess(prepared: str) -> Any:
    from edgetl.cli.options import given_preprocess

    return given_preprocess(prepared)


def test_a_reference_that_answers_one_class_to_all_proves_nothing(tmp_path: Path, prepared: str, calibration: Path) -> None:
    constant = nearest_color(tmp_path / "m.onnx", 2, bias=np.array([1000, -1000], np.float32))
    data = photos(tmp_path / "data", {"healthy": 24, "sick": 2})
    report = judged(constant, constant, data, tmp_path, prepared)
    assert report["verdict"] == "failed" and report["parity"]["end_to_end"]["verdict"] != "failed"
    assert (
        "right on 92.3% of the images, and 92.3% of them are “healthy”" in report["reasons"][0] and report["reasons"][0] in report["notes"]
    )
    decision = decided(constant, calibration, data, tmp_path, prepared)
    assert decision.verdict == "failed" and decision.reasons and "proves nothing" in decision.reasons[0]
    assert (tmp_path / "q.onnx").is_file() and decision.float_score == pytest.approx(24 / 26)


def test_a_class_of_few_images_that_is_lost_whole_fails_the_verdict(tmp_path: Path, prepared: str) -> None:
    good = nearest_color(tmp_path / "good.onnx", 2)
    lost = nearest_color(tmp_path / "lost.onnx", 2, bias=np.array([1000, -1000], np.float32))
    data = photos(tmp_path / "data", {"healthy": 72, "sick": 3})
    report = judged(lost, good, data, tmp_path, prepared)
    assert report["parity"]["end_to_end"]["verdict"] == "passed" and report["verdict"] == "failed"
    assert report["parity"]["end_to_end"]["lost_classes"] == [{"name": "sick", "images": 3, "before": 3, "after": 0, "shown": True}]
    assert "“sick” (the reference has 3 of 3 images right, the shipped model 0)" in report["reasons"][0]


# which output is which class


def test_more_or_fewer_outputs_than_folders_are_refused_with_both_numbers(tmp_path: Path, prepared: str, calibration: Path) -> None:
    data = photos(tmp_path / "data", {"a": 3, "b": 3, "c": 3})
    for model in (nearest_color(tmp_path / "five.onnx", 5), nearest_color(tmp_path / "two.onnx", 2)):
        for work in (
            lambda m=model: judged(m, m, data, tmp_path, prepared),
            lambda m=model: decided(m, calibration, data, tmp_path, prepared),
        ):
            with pytest.raises(InputError, match=r"found (5|2) outputs of \w+.onnx and 3 classes \(a, b, c\)"):
                work()


def test_labels_place_the_folders_among_more_outputs(tmp_path: Path, prepared: str, calibration: Path) -> None:
    model = nearest_color(tmp_path / "m.onnx", 5)
    data = photos(tmp_path / "data", {"c2": 6, "c4": 6}, colors=[2, 4])
    (tmp_path / "labels.txt").write_text("c0\nc1\nc2\nc3\nc4\n", encoding="utf-8")
    report = judged(model, model, data, tmp_path, prepared, labels=tmp_path / "labels.txt")
    assert report["data"]["classes"] == ["c0", "c1", "c2", "c3", "c4"] and report["models"]["teacher"]["score"] == 1
    assert decided(model, calibration, data, tmp_path, prepared, labels=tmp_path / "labels.txt").float_score == 1
    assert read_info(tmp_path / "q.onnx").classes == ("c0", "c1", "c2", "c3", "c4")


def test_folders_that_are_numbers_are_taken_in_natural_order_and_it_is_said(tmp_path: Path, prepared: str, calibration: Path) -> None:
    model, data = nearest_color(tmp_path / "m.onnx", 12), photos(tmp_path / "data", {str(i): 3 for i in range(12)})
    report = judged(model, model, data, tmp_path, prepared)
    assert report["data"]["classes"] == [str(i) for i in range(12)] and report["models"]["teacher"]["score"] > 0.9
    assert any(note.startswith("class order: 0, 1, 2, 3") for note in report["notes"])
    assert (decided(model, calibration, data, tmp_path, prepared).float_score or 0) > 0.9


def test_where_the_reference_fits_another_order_the_verdict_fails_and_says_so(tmp_path: Path, prepared: str) -> None:
    """The model was trained on folders sorted as text: 0, 1, 10, 11, 2, ..."""
    by_text = sorted(range(12), key=str)
    model = nearest_color(tmp_path / "m.onnx", 12, order=by_text)
    data = photos(tmp_path / "data", {str(i): 4 for i in range(12)})
    report = judged(model, model, data, tmp_path, prepared)
    assert report["verdict"] == "failed" and "with 0, 1, 10, 11, 2" in report["reasons"][0]
    (tmp_path / "labels.txt").write_text("".join(f"{i}\n" for i in by_text), encoding="utf-8")
    assert judged(model, model, data, tmp_path, prepared, labels=tmp_path / "labels.txt")["models"]["teacher"]["score"] > 0.9


def test_two_models_are_compared_by_the_names_of_their_classes(tmp_path: Path, prepared: str) -> None:
    data = photos(tmp_path / "data", {"a": 6, "b": 6, "c": 6})
    first, turned = nearest_color(tmp_path / "first.onnx", 3), nearest_color(tmp_path / "turned.onnx", 3, order=[2, 0, 1])
    for path, names in ((first, ["a", "b", "c"]), (turned, ["c", "a", "b"])):
        model = onnx.load(path)
        helper.set_model_props(model, {"edgetl.labels": json.dumps(names)})
        onnx.save(model, path)
    report = judged(first, turned, data, tmp_path, prepared)
    assert report["parity"]["end_to_end"]["agreement"] == 1 and report["models"]["teacher"]["score"] == 1


# several outputs, one output


@pytest.fixture
def two_outputs(tmp_path: Path) -> Path:
    weights = {"we": np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), "be": np.zeros(64, np.float32)}
    tail = [helper.make_node("Gemm", ["f", "we", "be"], ["embedding"], transB=1)]
    return nearest_color(tmp_path / "two.onnx", 4, tail=tail, weights=weights, outputs={"embedding": 64, "logits": 4})


def test_of_several_outputs_the_one_that_fits_the_folders_answers(
    two_outputs: Path, tmp_path: Path, prepared: str, calibration: Path
) -> None:
    data = photos(tmp_path / "data", {f"c{i}": 4 for i in range(4)})
    assert judged(two_outputs, two_outputs, data, tmp_path, prepared)["models"]["teacher"]["score"] == 1
    assert decided(two_outputs, calibration, data, tmp_path, prepared).float_score == 1
    assert [value.name for value in onnx.load(tmp_path / "q.onnx").graph.output] == ["logits"]


def test_without_class_names_it_is_asked_which_output_answers(two_outputs: Path, tmp_path: Path, prepared: str, calibration: Path) -> None:
    data = photos(tmp_path / "data", {f"c{i}": 4 for i in range(4)})
    with pytest.raises(InputError, match=r"found several in two.onnx \(embedding: .*logits: .*--output NAME"):
        open_classifier(two_outputs, preprocess=open_preprocess(prepared))
    with pytest.raises(InputError, match=r"--output NAME"):
        quantize(two_outputs, calibration, tmp_path / "q.onnx", QUICK)
    with pytest.raises(InputError, match=r"expected a float output other"):
        quantize(two_outputs, calibration, tmp_path / "q.onnx", QUICK, output="other")
    quantize(two_outputs, calibration, tmp_path / "q.onnx", QUICK, output="logits")
    assert open_session(tmp_path / "q.onnx").outputs == 4
    classifier = open_classifier(two_outputs, preprocess=open_preprocess(prepared), output="logits")
    answers = [p.answer for p in classifier.answers(sorted(data.rglob("*.png")))]
    assert answers == [str(i) for i in range(4) for _ in range(4)]


@pytest.mark.parametrize("tail", [True, False])
def test_one_output_tells_two_classes_apart_and_ruined_ones_fail(tmp_path: Path, prepared: str, calibration: Path, tail: bool) -> None:
    good, ruined = sigmoid_net(tmp_path / "good.onnx", tail=tail), sigmoid_net(tmp_path / "ruined.onnx", -50, tail=tail)
    data = photos(tmp_path / "data", {"blue": 8, "red": 8}, colors=[1, 0])
    report = judged(good, good, data, tmp_path, prepared)
    assert report["models"]["teacher"]["score"] == 1 and report["verdict"] != "failed"
    assert any("the second class" in note for note in report["notes"])
    assert judged(ruined, good, data, tmp_path, prepared)["verdict"] == "failed"
    assert judged(ruined, ruined, data, tmp_path, prepared)["verdict"] == "failed"
    decision = decided(good, calibration, data, tmp_path, prepared)
    assert decision.float_score == 1 and decision.agreement > 0.9 and decision.verdict is None
    found = list(predict(good, [data], preprocess=open_preprocess(prepared)))
    own = open_session(good).run(np.stack([open_preprocess(prepared)(p.path.read_bytes()) for p in found]))[:, 0]
    own = own if tail else 1 / (1 + np.exp(-own))
    assert [p.answer for p in found] == [str(int(p > 0.5)) for p in own]
    np.testing.assert_allclose([p.confidence for p in found], np.maximum(own, 1 - own), atol=1e-6)


# what the numbers mean


def test_probabilities_stay_what_they_are_in_predict_bundle_and_sample_code(tmp_path: Path, prepared: str, calibration: Path) -> None:
    """A nearly linear net, so that softmax twice would show: 0.5 where the graph says 0.9."""
    tail = [helper.make_node("Mul", ["z", "tenth"], ["s"]), helper.make_node("Softmax", ["s"], ["probabilities"], axis=1)]
    weights = {"tenth": np.array(0.1, np.float32)}
    model = nearest_color(tmp_path / "m.onnx", 3, head="z", tail=tail, weights=weights, outputs={"probabilities": 3})
    data, prepare = photos(tmp_path / "data", {"a": 9, "b": 9, "c": 9}), open_preprocess(prepared)
    own = {path: open_session(model).run(prepare(path.read_bytes())[None])[0] for path in sorted(data.rglob("*.png"))}
    for found in predict(model, [data], preprocess=prepare):
        assert found.confidence == pytest.approx(own[found.path].max(), abs=1e-6)
    quantize(model, calibration, tmp_path / "q.onnx", QUICK)
    assert read_info(tmp_path / "q.onnx").extra["edgetl.outputs"] == "softmax"
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    golden = open_images(str(data), DataSettings())
    export(
        tmp_path / "q.onnx",
        tmp_path / "bundle",
        ExportSettings(golden_images=2),
        golden,
        labels=tmp_path / "labels.txt",
        preprocess=prepared,
    )
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.outputs[0].kind == "probabilities" and "softmax is part of the graph" in bundle.manifest.outputs[0].meaning
    own = {path: open_session(bundle.model).run(prepare(path.read_bytes())[None])[0] for path in own}  # int8, its own noise
    for found in predict(bundle.path, [data]):
        assert found.confidence == pytest.approx(own[found.path].max(), abs=1e-6)
    readme = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "softmax must not be applied again" in readme
    (tmp_path / "sample.py").write_text(readme.split("```python\n")[1].split("```")[0], encoding="utf-8")
    picture = next(iter(own))
    said = subprocess.run(
        [sys.executable, tmp_path / "sample.py", picture, bundle.path], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(said.stdout.splitlines()[1].split()[0]) == pytest.approx(own[picture].max(), abs=1e-3)  # below the decision


# sizes


def one_at_a_time(path: Path) -> Path:
    """A file that says that it takes any number of images, with a Reshape to one row inside."""
    tail = [helper.make_node("Reshape", ["z", "row"], ["logits"])]
    return nearest_color(path, 3, head="z", tail=tail, weights={"row": np.array([1, 3], np.int64)})


def test_a_model_that_works_for_one_image_alone_is_run_so_everywhere(tmp_path: Path, prepared: str, calibration: Path) -> None:
    model, data = one_at_a_time(tmp_path / "m.onnx"), photos(tmp_path / "data", {"a": 6, "b": 6, "c": 6})
    assert judged(model, model, data, tmp_path, prepared)["models"]["teacher"]["score"] == 1
    decision = decided(model, calibration, data, tmp_path, prepared)
    assert decision.float_score == 1 and decision.agreement > 0.9
    assert open_session(tmp_path / "q.onnx").input_shape[0] == 1
    assert [p.answer for p in predict(model, [data], preprocess=open_preprocess(prepared))] == [str(i) for i in range(3) for _ in range(6)]
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    for source, name in ((model, "float"), (tmp_path / "q.onnx", "int8")):
        golden = open_images(str(data), DataSettings())
        export(source, tmp_path / name, ExportSettings(golden_images=2), golden, labels=tmp_path / "labels.txt", preprocess=prepared)
        assert open_bundle(tmp_path / name).manifest.inputs[0].shape[0] == 1


def test_where_the_file_leaves_all_sizes_open_latency_is_that_of_the_data(
    tmp_path: Path, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nearest_color(tmp_path / "m.onnx", 2, shape=("n", "c", "h", "w"))
    data, timed, shapes = photos(tmp_path / "data", {"a": 6, "b": 6}), Session.compute, set()

    def watched(session: Session, x: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.add(x.shape[1:])
        return timed(session, x)

    monkeypatch.setattr(Session, "compute", watched)
    judged(model, model, data, tmp_path, prepared)
    assert shapes == {(3, SIDE, SIDE)} and latency.DEFAULT_SIDE != SIDE


# rows of an .npz


def test_rows_that_the_model_has_seen_are_dropped_and_counted(tmp_path: Path, calibration: Path) -> None:
    model, x = nearest_color(tmp_path / "m.onnx", 3), np.load(calibration)["x"]
    quantize(model, calibration, tmp_path / "q.onnx", QUICK)
    fresh = np.random.default_rng(1).random((30, 3, SIDE, SIDE), dtype=np.float32) * 0.3 + np.eye(3, dtype=np.float32)[
        np.arange(30) % 3
    ].reshape(30, 3, 1, 1) * np.float32(0.6)
    both = np.concatenate([x[:6], fresh])
    np.savez(tmp_path / "t.npz", x=both, y=open_session(model).run(both).argmax(1))
    with pytest.raises(InputError, match=r"found 6 of 36 .*\n  row 0 \(calibration\)"):
        judged(tmp_path / "q.onnx", model, tmp_path / "t.npz", tmp_path)
    report = judged(tmp_path / "q.onnx", model, tmp_path / "t.npz", tmp_path, settings=JUDGE.but(seen_images="drop"))
    assert report["data"]["images"]["test"] == 30 and report["models"]["teacher"]["score"] == 1


# words


def test_that_int8_was_over_its_budget_is_said_only_where_it_was_tried(
    tmp_path: Path, prepared: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = nearest_color(tmp_path / "m.onnx", 2), photos(tmp_path / "data", {"a": 6, "b": 6})
    report = judged(model, model, data, tmp_path, prepared)
    show_report(report, None)
    assert "not int8" not in capsys.readouterr().err
    show_report({**report, "models": {**report["models"], "onnx_int8": report["models"]["onnx_float"]}}, None)
    assert "the float model ships, not the int8 model: the val images decided so" in " ".join(capsys.readouterr().err.split())


def test_a_failed_verdict_names_its_reason_on_the_screen_and_in_the_page(
    tmp_path: Path, prepared: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = nearest_color(tmp_path / "good.onnx", 2)
    lost = nearest_color(tmp_path / "lost.onnx", 2, bias=np.array([1000, -1000], np.float32))
    report = judged(lost, good, photos(tmp_path / "data", {"healthy": 72, "sick": 3}), tmp_path, prepared)
    show_report(report, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "Failed: a class is lost: “sick” (the reference has 3 of 3 images right, the shipped model 0)" in said
    page = render(report, {})
    assert "A class is lost: “sick”" in page and "Do not ship this" in page


def test_names_that_are_given_stand_for_those_in_the_file_and_it_is_said(
    tmp_path: Path, prepared: str, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nearest_color(tmp_path / "m.onnx", 2)
    proto = onnx.load(model)
    helper.set_model_props(proto, {"edgetl.labels": json.dumps(["n01", "n02"])})
    onnx.save(proto, model)
    (tmp_path / "labels.txt").write_text("tench\nbee\n", encoding="utf-8")
    with shown(bars=False):
        quantize(model, calibration, tmp_path / "q.onnx", QUICK, labels=tmp_path / "labels.txt")
    assert "instead of those in the file (n01, n02)" in " ".join(capsys.readouterr().err.split())
    assert read_info(tmp_path / "q.onnx").classes == ("tench", "bee")


def test_a_calibration_image_without_finite_answers_is_named_where_others_judge(tmp_path: Path, prepared: str) -> None:
    tail = [helper.make_node("Gather", ["f", "red"], ["r"], axis=1), helper.make_node("Sub", ["r", "half"], ["s"]),
            helper.make_node("Sqrt", ["s"], ["q"]), helper.make_node("Add", ["z", "q"], ["logits"])]  # fmt: skip
    weights = {"red": np.array([0], np.int64), "half": np.array([[0.2]], np.float32)}
    model = nearest_color(tmp_path / "m.onnx", 2, head="z", tail=tail, weights=weights)
    x = np.random.default_rng(0).random((20, 3, SIDE, SIDE), dtype=np.float32)
    x[7, 0] *= 0.1  # hardly any red
    np.savez(tmp_path / "c.npz", x=x)
    data = photos(tmp_path / "data", {"a": 3, "b": 3}, colors=[0, 3])
    with pytest.raises(InputError, match=r"finite outputs of m.onnx, found NaN or infinity for 1 of \d+ images:\n  row 7\n"):
        decided(model, tmp_path / "c.npz", data, tmp_path, prepared)


def test_a_calibration_image_is_named_whose_output_alone_is_not_finite_whatever_it_is_used_for(tmp_path: Path) -> None:
    """A few images are looked at before the work; the others, when they are used: to fit, to choose or to report."""
    tail = [helper.make_node("Sub", ["z", "half"], ["s"]), helper.make_node("Sqrt", ["s"], ["logits"])]
    weights = {"head": np.eye(2, 3, dtype=np.float32), "at": np.zeros(2, np.float32), "half": np.array([[0.2]], np.float32)}
    model = nearest_color(tmp_path / "m.onnx", 2, head="z", tail=tail, weights=weights)
    for row in range(0, 160, 23):
        x = np.random.default_rng(0).random((160, 3, SIDE, SIDE), dtype=np.float32)
        x[row, 0] *= 0.1  # hardly any red
        np.savez(tmp_path / f"{row}.npz", x=x)
        with pytest.raises(InputError, match=rf"finite outputs of m.onnx, found NaN or infinity for 1 of \d+ images:\n  row {row}\n"):
            quantize(model, tmp_path / f"{row}.npz", tmp_path / f"{row}.onnx", QUICK)
