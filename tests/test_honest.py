"""What a user is told is what was shown: bursts are no photos, a copy is no good model, and nothing is called failed that is not shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl.cli.console import show_report, warnings_of
from edgetl.cli.options import given_preprocess
from edgetl.cli.stages import quantize
from edgetl.core.seen import SeenImages
from edgetl.data.calibration import open_calibration, open_labelled
from edgetl.metrics.parity import tango
from edgetl.report.html import render
from edgetl.settings import QuantizeSettings

from .conftest import Ended, Told
from .test_answers import COLORS, JUDGE, QUICK, calibration, judged, nearest_color, photos, prepared

__all__ = ["calibration", "prepared"]  # fixtures


def bursts(root: Path, scenes: int, frames: int) -> Path:
    """Two classes; each scene of a class has structure of its own at all scales, its `frames` differ in brightness and quality."""
    rng = np.random.default_rng(1)
    for index, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for scene in range(scenes):
            layers = [Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).resize((96, 96)) for side in (3, 6, 12, 24)]
            structure = sum((np.asarray(layer, dtype=np.float64) - 128) / 2 ** (1 + depth) for depth, layer in enumerate(layers))
            for frame in range(frames):
                picture = np.clip(COLORS[index] + np.asarray(structure)[..., None] * 0.6 + frame, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(root / name / f"{scene}-{frame}.jpg", quality=80 + frame)
    return root


def test_twenty_scenes_of_ten_frames_do_not_certify_what_two_hundred_photos_do(tmp_path: Path, prepared: str) -> None:
    model = nearest_color(tmp_path / "m.onnx", 2)
    frames = judged(model, model, bursts(tmp_path / "bursts", 10, 10), tmp_path, prepared)
    many = judged(model, model, photos(tmp_path / "photos", {"a": 100, "b": 100}), tmp_path, prepared)
    end, other = frames["parity"]["end_to_end"], many["parity"]["end_to_end"]
    assert (end["images"], end["effective_images"], end["standing"], frames["verdict"]) == (200, 20, "undecided", "passed")
    assert end["drop_ci95"][1] == pytest.approx(tango(0, 0, 20, 0.95)[1])
    assert (other["standing"], many["verdict"]) == ("within", "certified") and "effective_images" not in other
    assert other["drop_ci95"][1] == pytest.approx(tango(0, 0, 200, 0.95)[1])
    assert "test images are worth about 20 independent ones" in render(frames, {})
    assert frames["models"]["teacher"]["score_ci95"][0] < many["models"]["teacher"]["score_ci95"][0]


def test_bursts_do_not_decide_what_ships_either(tmp_path: Path, prepared: str, calibration: Path) -> None:
    model, out = nearest_color(tmp_path / "m.onnx", 2), tmp_path / "q.onnx"
    ask = QUICK.but(when_undecided="float", max_drop=0.05)

    def shipped(data: Path) -> tuple[Any, ...]:
        found = quantize(model, calibration, out, ask, evaluation=str(data), preprocess=prepared).decision
        return found.shipped, found.standing, found.settled_by, found.effective_images

    assert shipped(bursts(tmp_path / "bursts", 10, 10)) == ("float", "undecided", "asked", 20)
    assert shipped(photos(tmp_path / "photos", {"a": 100, "b": 100})) == ("int8", "within", "interval", None)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_calibration_images_whose_burst_was_fitted_on_are_not_called_held_out(tmp_path: Path, prepared: str, told: Told, kind: str) -> None:
    """20 scenes of 10 frames: 20 frames report, and each has nine like it that set the numbers."""
    model, frames, out = nearest_color(tmp_path / "m.onnx", 2), bursts(tmp_path / "bursts", 10, 10), tmp_path / "q.onnx"
    source, count, preprocess = frames, 20, given_preprocess(prepared)
    if kind == "npz":
        opened = open_calibration(frames, preprocess)
        np.savez(source := tmp_path / "bursts.npz", x=np.concatenate([batch.x for batch in opened.batches(64)]))
    found = quantize(model, source, out, QUICK, preprocess=prepared).decision
    assert (found.judged_on, found.images, found.held_out) == ("calibration", count, False)
    said = f"on {count} calibration images, not held out ({count} of them look like images that set the numbers or chose between methods)"
    assert said in told.text
    (record,) = tmp_path.glob("q.onnx.work/stages/quantize-*/decisions.json")
    reported = json.loads(record.read_text())["quantization"]["reported"]
    assert not reported["held_out"] and reported["interval"][0] < 0.81  # of 20 photos it would be 0.839
    alone = quantize(model, photos(tmp_path / "photos", {"a": 100, "b": 100}), tmp_path / "p.onnx", QUICK, preprocess=prepared).decision
    assert (alone.images, alone.held_out) == (20, True)


@pytest.mark.parametrize(("when", "form"), [("measured", "int8"), ("int8", "int8"), ("float", "float")])
def test_what_ships_undecided_is_said_and_may_be_said_beforehand(
    when: str, form: str, tmp_path: Path, prepared: str, calibration: Path
) -> None:
    model, data = nearest_color(tmp_path / "m.onnx", 2), photos(tmp_path / "data", {"a": 10, "b": 10})
    ask = QuantizeSettings(tune_images=0, when_undecided=when)  # type: ignore[arg-type]
    decision = quantize(model, calibration, tmp_path / "q.onnx", ask, evaluation=str(data), preprocess=prepared).decision
    assert (decision.shipped, decision.standing) == (form, "undecided") and decision.why
    assert decision.why.startswith(f"{form} ships, undecided") and "loses nothing against float on 20 labelled images" in decision.why
    assert any(decision.why in line for line in warnings_of(decision, tmp_path / "q.onnx"))


def test_exit_code_1_is_for_what_is_shown_or_for_strict(edgetl: Callable[..., Ended], tmp_path: Path, prepared: str) -> None:
    """Of 15 photos the candidate loses one, which is more than 5 points; then it loses 7."""
    reference, data = nearest_color(tmp_path / "m.onnx", 3), photos(tmp_path / "data", {"a": 7, "b": 7, "c": 1})
    lost_one = nearest_color(tmp_path / "one.onnx", 3, bias=np.append(-40 * ((COLORS[:2] / 255) ** 2).sum(1), -1000).astype(np.float32))
    lost_seven = nearest_color(tmp_path / "seven.onnx", 3, order=[0, 2, 1])
    judge = ("--reference", reference, "--data", data, "--preprocess", prepared, "--latency-runs", "5", "--json")

    def verdict(candidate: Path, *words: object) -> tuple[int, str]:
        ended = edgetl("verify", candidate, *judge, *words)
        return ended.returncode, json.loads(ended.stdout)["parity"]["end_to_end"]["verdict"]

    assert verdict(reference) == (0, "passed") and verdict(reference, "--strict") == (1, "passed")
    assert verdict(lost_seven) == (1, "failed")
    code, word = verdict(lost_one, "--max-drop", "0.06")
    assert word == "undecided"
    assert code in (0, 1)  # class c is lost: all of one image, which is no proof
    assert verdict(lost_one, "--max-drop", "0.06", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("min_score", "standing", "verdict", "code"), [(0.6, "met", "certified", 0), (0.7, "undecided", "passed", 0),
                                                   (0.8, "undecided", "undecided", 0), (0.9, "missed", "failed", 1)]
)  # fmt: skip
def test_a_faithful_copy_of_a_poor_model_is_no_good_model(
    min_score: float, standing: str, verdict: str, code: int, edgetl: Callable[..., Ended], tmp_path: Path, prepared: str
) -> None:
    """Right on three quarters of 120 photos, and so is what it is compared with."""
    model, data = nearest_color(tmp_path / "m.onnx", 2), photos(tmp_path / "data", {"a": 60, "b": 30})
    photos(tmp_path / "more", {"a": 30}, seed=7)
    for path in (tmp_path / "more" / "a").iterdir():
        path.rename(data / "b" / path.name)
    words = ("--reference", model, "--data", data, "--preprocess", prepared, "--latency-runs", "5", "--json")
    ended = edgetl("verify", model, *words, "--min-score", min_score, "--out", tmp_path / "out")
    assert ended.returncode == code
    report = json.loads(ended.stdout)
    assert (report["wish"]["standing"], report["verdict"], report["faithful"]) == (standing, verdict, "certified")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report["data"]["seen"] == "not checked" and "Ready to ship" not in page
    assert ("Yes, if no model has seen these images: 75.0% right" in page) == (standing == "met")
    assert report["wish"]["score"] == 0.75


def test_images_that_a_model_was_trained_on_prove_nothing(edgetl: Callable[..., Ended], tmp_path: Path, prepared: str) -> None:
    """All 200 are on record as training images, and may judge since that was asked for: neither certified, nor ready, nor good."""
    (tmp_path / "model").mkdir()
    model, data = nearest_color(tmp_path / "model" / "m.onnx", 2), photos(tmp_path / "data", {"a": 100, "b": 100})
    images = open_labelled(str(data))
    record = SeenImages.of(images.digest, looks=images.looks, train=images.hashes)
    (model.parent / "seen.json").write_text(record.to_json(), encoding="utf-8")
    words = ("--reference", model, "--data", data, "--preprocess", prepared, "--latency-runs", "5", "--min-score", "0.9")
    ended = edgetl("verify", model, *words, "--seen-images", "accept", "--out", tmp_path / "out")
    assert ended.returncode == 0 and "Passed, not proven" in ended.stdout
    assert "a model may have been trained on the test images" in " ".join(ended.stdout.split())
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["seen"], report["verdict"], report["faithful"], report["wish"]["standing"]) == (
        "waived",
        "passed",
        "passed",
        "met",
    )
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Ready to ship" not in page and "Not proven: 100.0% right" in page and "Yes: " not in page


def test_few_images_are_counted_on_the_first_screen(tmp_path: Path, prepared: str) -> None:
    model = nearest_color(tmp_path / "m.onnx", 2)
    report = judged(model, model, photos(tmp_path / "data", {"a": 6, "b": 6}), tmp_path, prepared, settings=JUDGE)
    page = render(report, {})
    assert "12 of 12 right" in page and "It gets 12 of 12 right, the " in page and "would be right on 6 of 12" in page
    assert "100.0%" not in page.partition("too few for a percentage")[0].replace("% to 100.0%", "")


def test_without_a_wish_no_page_says_ready(tmp_path: Path, prepared: str) -> None:
    model = nearest_color(tmp_path / "m.onnx", 2)
    report = judged(model, model, photos(tmp_path / "data", {"a": 100, "b": 100}), tmp_path, prepared, settings=JUDGE)
    page = render(report, {})
    assert (
        report["verdict"] == "certified"
        and "Ready to ship" not in page
        and "Whether that is good enough depends on your application" in page
    )


def test_a_comparison_over_its_budget_is_said_on_the_screen(tmp_path: Path, prepared: str, capsys: pytest.CaptureFixture[str]) -> None:
    """int8 against float is not what the verdict rests on; two verdicts that disagree are explained."""
    model = nearest_color(tmp_path / "m.onnx", 2)
    report = judged(model, model, photos(tmp_path / "data", {"a": 100, "b": 53}), tmp_path, prepared)
    end = report["parity"]["end_to_end"]
    over = {
        **end,
        "drop": 2 / 153,
        "drop_ci95": [-0.01, 0.05],
        "max_drop": 0.01,
        "verdict": "undecided",
        "lost": 2,
        "gained": 0,
        "sqnr_db": 30.0,
    }
    show_report({**report, "parity": {**report["parity"], "int8": over}}, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "int8 loses 2 answers of 153 against float: 1.31 points, with a budget of 1 point. Undecided" in said
