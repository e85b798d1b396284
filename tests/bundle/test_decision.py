"""A bundle's decision rule: fitted on what ships, the same in `predict`, in the manifest and in the report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from edgetl.bundle.answers import Tally, to_lines
from edgetl.bundle.client import FULL_DECODE_LEVELS, readme
from edgetl.bundle.decision import DecisionRule, fit_decision
from edgetl.bundle.golden import read_golden
from edgetl.bundle.golden_answers import decision_of_equals, golden_decision
from edgetl.bundle.manifest import Manifest
from edgetl.bundle.predict import open_classifier, predict
from edgetl.bundle.read import Bundle
from edgetl.bundle.write import write_bundle
from edgetl.metrics.confidence import fit_temperature
from edgetl.report.confidence import confidence_report, confidence_words
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Meaning

from ..conftest import write_csv
from .conftest import CLASSES, PICTURES, PREPROCESS, picture

TASK = Classification(classes=tuple("abcdefg"))


def answers(images: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits three times too large, and labels drawn as they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 9, (images, 7)).astype(np.float32)
    chances = softmax(logits.astype(np.float64) / 3, axis=1)
    return logits, np.array([rng.choice(7, p=row) for row in chances], dtype=np.int64)


def test_the_rule_makes_sure_confidences_honest_and_answers_as_precise_as_wanted() -> None:
    rule = fit_decision(*answers(1000), TASK, 0.9)
    assert rule.temperature == pytest.approx(3, rel=0.15) and rule.ece_after < rule.ece_before / 2
    outputs, labels = answers(1000, seed=1)  # others than it was fitted on
    found = confidence_report(rule, TASK, outputs, labels)
    assert found.ece_after < found.ece_before / 2 and found.ece_after <= found.ece_by_chance_most * 1.5
    assert rule.reach == "shown" and found.precision is not None and found.precision >= 0.9 and 0.2 < found.coverage < 1
    assert all(word in " ".join(confidence_words(found)) for word in ("val images", "95% interval", "unknown"))


def test_frames_of_scenes_are_not_said_to_be_beyond_chance_as_photos_are() -> None:
    """16 scenes of 10 right and 4 wrong, where 13.4 should be right: of 200 photos that is no chance, of 20 scenes it may be."""
    outputs = np.tile([2.5, 0, 0, 0, 0, 0, 0], (200, 1)).astype(np.float32)  # softmax: 0.67
    labels = (np.arange(200) >= 160).astype(np.int64)
    rule = replace(fit_decision(outputs, labels, TASK, 0.9), temperature=1.0)
    photos, frames = (confidence_report(rule, TASK, outputs, labels, groups) for groups in (None, np.arange(200) // 10))
    assert photos.groups is None and frames.groups == 20 and photos.ece_after == frames.ece_after
    assert frames.ece_by_chance > 2 * photos.ece_by_chance and frames.ece_by_chance_most > 2 * photos.ece_by_chance_most
    said, other = confidence_words(frames)[0], confidence_words(photos)[0]
    assert "That is within chance: on 200 images of 20 scenes, each right or wrong as a whole, perfect" in said
    assert "That is more than chance explains: on 200 images, perfect" in other


@pytest.mark.parametrize(("meaning", "tempered"), [("log_probabilities", True), ("probabilities", False), ("sigmoids", False)])
def test_a_temperature_is_only_for_what_softmax_can_be_applied_to(meaning: Meaning, tempered: bool) -> None:
    logits, labels = answers(300)
    outputs = softmax(logits.astype(np.float64), axis=1)
    outputs = np.log(np.maximum(outputs, 1e-300)) if tempered else outputs
    rule = fit_decision(outputs.astype(np.float32), labels, replace(TASK, meaning=meaning), 0.9)
    assert rule.temperature == pytest.approx(fit_temperature(logits, labels) if tempered else 1, rel=1e-3)


def test_one_output_is_tempered_as_two_logits_are() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 6, (400, 1)).astype(np.float32)
    labels = (rng.random(400) < 1 / (1 + np.exp(-x[:, 0] / 2))).astype(np.int64)
    one = Classification(classes=("no", "yes"), meaning="logit")
    rule = fit_decision(x, labels, one, 0.9)
    assert rule.temperature == fit_temperature(np.concatenate([0 * x, x], axis=1), labels)
    np.testing.assert_allclose(one.confidences(x, 2.0)[:, 1], 1 / (1 + np.exp(-x[:, 0] / 2)), atol=1e-6)


def test_few_images_change_nothing_and_are_told() -> None:
    outputs, labels = answers(12)
    rule = fit_decision(outputs, labels, TASK, 0.95)
    assert (rule.temperature, rule.threshold, rule.reach, rule.images) == (1.0, None, "too few images", 12)
    assert rule.decide("a", 0.0) == "a"
    words = confidence_words(confidence_report(rule, TASK, outputs, labels))
    assert "12 test images are too few to measure" in words[0] and "val has too few images to choose" in words[1]


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    rule = DecisionRule(
        temperature=2.5,
        ece_before=0.1,
        ece_after=0.02,
        threshold=0.7,
        wanted_precision=0.95,
        precision=0.96,
        coverage=0.8,
        reach="shown",
        images=99,
    )
    out = tmp_path_factory.mktemp("decision") / "bundle"
    return write_bundle(
        out,
        shipped=graphs[1],
        float_model=graphs[0],
        form="int8",
        info=info,
        golden=PICTURES,
        target="portable",
        provenance={},
        decision=rule,
    )


def test_the_manifest_says_the_rule_and_reads_it_back(bundle: Bundle) -> None:
    said = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))["decision"]
    assert said["temperature"] == 2.5 and said["threshold"] == 0.7 and said["unknown"] == "unknown" and said["images"] == 99
    assert Manifest.from_json(bundle.manifest.to_json()).decision == bundle.manifest.decision


def test_the_readme_does_not_praise_a_temperature_that_raised_the_calibration_error(bundle: Bundle) -> None:
    """Few images: the likelihood that the temperature is fitted to and the calibration error can disagree."""
    rule = bundle.manifest.decision
    assert rule is not None
    helped, raised = (
        readme(replace(bundle.manifest, decision=replace(rule, ece_before=before, ece_after=after)), 3)
        for before, after in ((0.12, 0.03), (0.0502, 0.0726))
    )
    praise = "so that confidences mean what they say"
    assert praise in helped and "goes from 0.12 to 0.03" in helped
    assert praise not in raised and "is 0.0726 with it and 0.0502 without" in raised


def test_golden_images_say_the_decision_and_softmax_has_a_tolerance_of_its_own(bundle: Bundle) -> None:
    golden, rule = read_golden(bundle.path), bundle.manifest.decision
    assert rule is not None
    assert [image.decision for image in golden.images] == [rule.decide(*image.top[0]) for image in golden.images]
    allowed = golden.stages["probabilities"]
    assert allowed.abs == 1e-5 and allowed.graph_abs is not None and allowed.graph_abs > 1e-3
    assert golden.full_decode_levels == FULL_DECODE_LEVELS and golden.decision_of_equals == "unknown"


def test_no_golden_decision_where_rounding_would_decide(bundle: Bundle) -> None:
    rule, classes = bundle.manifest.decision, np.array
    assert rule is not None
    assert golden_decision("a", classes([0.71, 0.29]), rule) == "a" and golden_decision("a", classes([0.69, 0.31]), rule) == "unknown"
    assert golden_decision("a", classes([0.700001, 0.3]), rule) is golden_decision("a", classes([0.5, 0.499999]), None) is None
    assert decision_of_equals(7, None) is decision_of_equals(1, replace(rule, threshold=1.0)) is None
    assert golden_decision("b", classes([0.4, 0.6]), None) == "b" and golden_decision("a", classes([1.0]), None) == "a"


def test_predict_tempers_and_says_unknown_in_a_column_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(30)]
    for seed, path in enumerate(paths):
        path.write_bytes(picture(seed, 40, 30))
    session = open_classifier(bundle.path).session
    expected = softmax(session.compute(np.stack([PREPROCESS(path.read_bytes()) for path in paths])) / 2.5, axis=1)
    found = list(predict(bundle.path, paths))
    np.testing.assert_allclose([p.confidence for p in found], expected.max(axis=1), atol=1e-5)
    unknown = expected.max(axis=1) < 0.7
    assert unknown.any() and not unknown.all()
    assert [p.decision for p in found] == ["unknown" if u else p.answer for p, u in zip(found, unknown, strict=True)]
    write_csv(tmp_path / "answers.csv", found)
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["decision"] == "unknown" for row in rows] == list(unknown) and all(row["answer"] in CLASSES for row in rows)
    tally = Tally()
    with (tmp_path / "lines").open("w", encoding="utf-8") as stream:
        tally.count(to_lines(found, stream, 1))
    lines = (tmp_path / "lines").read_text(encoding="utf-8").splitlines()
    assert [line.endswith("\tunknown") for line in lines] == list(unknown) and tally.unknown == unknown.sum()
