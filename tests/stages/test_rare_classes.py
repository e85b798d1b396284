"""A student of unbalanced classes does not lose the rare one: real digits, ninety against a few."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from edgetl.core.artifacts import Checkpoint
from edgetl.core.preprocess import Preprocess
from edgetl.core.workspace import Workspace
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import load_model
from edgetl.models.weights import Weights
from edgetl.report.baselines import read_baselines
from edgetl.report.frontier import read_frontier
from edgetl.selection.rounds import Rounds
from edgetl.selection.screening import ScreenedRound
from edgetl.selection.under_budget import Seek
from edgetl.settings import DataSettings, DistillSettings, FinetuneSettings, QuantizeSettings, Runtime, SearchSettings
from edgetl.stages.distill import Distill
from edgetl.stages.finetune import Finetune
from edgetl.training.balance import mean_recall
from edgetl.training.fit import network_outputs, standard_error

SIZE = Preprocess(size=32, resize=32)
ONE_THREAD = Runtime(device="cpu", threads=1)
TRAIN = {"3": 90, "8": 8}
STUDENT = DistillSettings(arch="edge_tiny", flip=False, hard_weight=0.5)


def digits() -> Images:
    """Of two digits so many to train, ten of each for val, and all test images."""
    every = open_images(None, DataSettings())
    names, taken, kept = tuple(TRAIN), Counter[tuple[str, str]](), []
    for ref in every.refs:
        name = every.classes[ref.label]
        taken[name, ref.part] += 1
        if name in TRAIN and taken[name, ref.part] <= {"train": TRAIN[name], "val": 10, "test": 1000}[ref.part]:
            kept.append(replace(ref, label=names.index(name)))
    return replace(every, classes=names, refs=tuple(kept))


@pytest.fixture(scope="module")
def teacher(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    settings = FinetuneSettings(arch="cifar_resnet16", image_size=32, strategy="features", baselines=False, flip=False)
    stage = Finetune(data=digits().only("train", "val"), preprocess=SIZE, settings=settings, weights=weights, runtime=ONE_THREAD)
    return stage.run(tmp_path_factory.mktemp("teacher")).checkpoint


def recalls(teacher: Checkpoint, folder: Path, balance: Literal["auto", "none", "loss"], epochs: int) -> float:
    """The mean recall on test images of a student trained so."""
    folder.mkdir()
    data = digits()
    stage = Distill(
        teacher=teacher, data=data.only("train", "val"), settings=STUDENT.but(balance=balance, epochs=epochs), runtime=ONE_THREAD
    )
    student, fresh = stage.run(folder), pixel_set(data.only("test"), SIZE, margin=False)
    answers = network_outputs(load_model(student.checkpoint.path), fresh, SIZE, torch.device("cpu")).argmax(1)
    return mean_recall((answers == fresh.labels).numpy(), fresh.labels.numpy())


def test_baselines_of_unbalanced_classes_have_the_score_that_chose(weights: Weights, tmp_path: Path) -> None:
    """Teacher, probe and network from scratch are all told by top1 and by mean recall; the head of `features` is the probe itself."""
    settings = FinetuneSettings(arch="cifar_resnet16", image_size=32, strategy="features", flip=False)
    data = digits().only("train", "val")
    made = Finetune(data=data, preprocess=SIZE, settings=settings, weights=weights, runtime=ONE_THREAD).run(tmp_path)
    assert made.baselines is not None
    found, val = read_baselines(made.baselines.path), pixel_set(data.only("val"), SIZE, margin=False)
    answers = network_outputs(load_model(made.checkpoint.path), val, SIZE, torch.device("cpu")).argmax(1)
    recall = mean_recall((answers == val.labels).numpy(), val.labels.numpy())
    assert found.teacher.balanced == pytest.approx(recall) == found.linear_probe.balanced
    assert found.from_scratch is not None and found.from_scratch.balanced is not None


@pytest.mark.parametrize(("balance", "epochs"), [("auto", 4), pytest.param("loss", 8, marks=pytest.mark.slow)])
def test_the_student_learns_the_rare_class_as_the_teacher_does(
    teacher: Checkpoint, tmp_path: Path, balance: Literal["auto", "loss"], epochs: int
) -> None:
    plain, balanced = (recalls(teacher, tmp_path / choice, choice, epochs) for choice in ("none", balance))
    assert balanced > plain + 0.05
    assert "val_balanced" in (tmp_path / balance / "log.csv").read_text()


def test_a_student_under_a_budget_is_sought_by_the_mean_recall_that_chose_its_epoch(teacher: Checkpoint, tmp_path: Path) -> None:
    """Of val, ten common images in two scenes and four rare ones in one: of the mean recall they tell less than three images."""
    data, taken = digits().only("train", "val"), Counter[int]()
    refs, leaders = [], dict[int, str]()
    for ref in data.refs:
        taken[ref.label] += ref.part == "val"
        if ref.part == "val" and not (ref.label == 1 and taken[1] > 4):
            refs.append(replace(ref, group=leaders.setdefault(2 * ref.label + (ref.label == 0 and taken[0] > 5), ref.sha256)))
        elif ref.part == "train":
            refs.append(ref)
    rounds = Rounds(
        data=replace(data, refs=tuple(refs)),
        teacher_arch="cifar_resnet16",
        image_size=32,
        wanted=STUDENT,
        weights=None,
        budget=SearchSettings(max_kb=60, epochs=2),
    )
    seek = Seek(rounds=rounds, teacher=teacher, target=QuantizeSettings(), runtime=ONE_THREAD)
    with Workspace(tmp_path / "run") as do:
        _, frontier = seek([ScreenedRound(kept=tuple(some)) for some in rounds], do)
    found, val = read_frontier(frontier.path), pixel_set(rounds.data.only("val"), SIZE, margin=False)
    (checkpoint,) = tmp_path.glob("run/stages/distill-*/checkpoint.safetensors")
    right = (network_outputs(load_model(checkpoint), val, SIZE, torch.device("cpu")).argmax(1) == val.labels).numpy()
    (row,) = found.tried
    assert (found.images, row.score) == (14, pytest.approx(right.mean()))
    assert row.balanced == pytest.approx(np.mean([right[val.labels.numpy() == label].mean() for label in (0, 1)])) != row.score
    assert found.standard_error == pytest.approx(standard_error(row.balanced, 4 / (1 / 2 + 1)))  # the harmonic mean of scenes a class
