"""Laws of the stage finetune, on real digits in real folders: what learns, what is written, that a kill changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.metrics.classification import confusion, per_class
from edgetl.models.build import build
from edgetl.models.checkpoint import load_model, read_checkpoint
from edgetl.models.heads import head_keys
from edgetl.models.state import read_state
from edgetl.models.weights import Weights
from edgetl.report.baselines import read_baselines
from edgetl.settings import DataSettings, FinetuneSettings, Runtime
from edgetl.stages.finetune import Finetune, Teacher
from edgetl.training.fit import network_outputs
from edgetl.training.progress import Progress, save_progress

from ..conftest import Stop, Told
from .conftest import StopIn

SIZE = Preprocess(size=32, resize=32)
ONE_THREAD = Runtime(device="cpu", threads=1)
QUICK = FinetuneSettings(arch="cifar_resnet16", image_size=32, epochs=4, baselines=False, flip=False)


@pytest.fixture(scope="module")
def digits() -> Images:
    """20 + 10 images of each of three digits that look alike to networks that know photos only."""
    return some({"3": 20, "5": 20, "8": 20}, val=10)


def some(train: dict[str, int], val: int) -> Images:
    """So many training images of some digits, `val` of each for val, and all test images of them."""
    every = open_images(None, DataSettings())
    names = tuple(train)
    kept, taken = [], Counter[tuple[str, str]]()
    for ref in every.refs:
        name = every.classes[ref.label]
        if name in train:
            taken[name, ref.part] += 1
            if taken[name, ref.part] <= {"train": train[name], "val": val, "test": 1000}[ref.part]:
                kept.append(replace(ref, label=names.index(name)))
    return replace(every, classes=names, refs=tuple(kept))


def stage(data: Images, weights: Weights | None, settings: FinetuneSettings = QUICK, **changes: Any) -> Finetune:
    seen = data.only("train", "val")
    return Finetune(data=seen, preprocess=SIZE, settings=settings.but(**changes), weights=weights, runtime=ONE_THREAD)


def ran(made: Finetune, folder: Path) -> Teacher:
    folder.mkdir()
    return made.run(folder)


def test_features_leave_the_body_as_it_was_and_the_head_answers(digits: Images, weights: Weights, tmp_path: Path) -> None:
    teacher = ran(stage(digits, weights, strategy="features"), tmp_path / "out")
    given, got, head = read_state(weights.path), read_state(teacher.checkpoint.path), head_keys(load_model(teacher.checkpoint.path))
    assert all(torch.equal(value, given[name].to(value.dtype)) for name, value in got.items() if name in given and name not in head)
    assert (teacher.strategy, teacher.best_epoch, teacher.reason) == ("features", -1, "as requested")
    assert teacher.val_score > 0.7 and not (tmp_path / "out" / "log.csv").exists()
    assert read_checkpoint(teacher.checkpoint.path).provenance["strategy"] == "features"


def test_a_head_of_two_layers_is_in_the_checkpoint(digits: Images, weights: Weights, tmp_path: Path) -> None:
    teacher = ran(stage(digits, weights, strategy="features", head="mlp", head_epochs=40), tmp_path / "out")
    assert read_checkpoint(teacher.checkpoint.path).arch == "cifar_resnet16+mlp"
    assert load_model(teacher.checkpoint.path)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert teacher.val_score > 0.7


def test_auto_says_what_it_chose_and_why(digits: Images, weights: Weights, tmp_path: Path, told: Told) -> None:
    teacher = ran(stage(digits, weights, epochs=1), tmp_path / "out")
    assert teacher.strategy in ("features", "staged") and "on 30 val images is" in teacher.reason
    assert sum(line.endswith(f"(strategy {teacher.strategy})") for line in told.lines) == 1
    assert f"finetune: {teacher.reason}" in told.lines


def test_random_weights_and_a_head_alone_are_refused_before_anything_is_done(digits: Images) -> None:
    with pytest.raises(InputError, match=r"expected pretrained weights for the strategy features, found none for cifar_resnet16: .* Give"):
        stage(digits, None, strategy="features")


def test_baselines_are_measured_on_val_written_and_say_what_they_had(digits: Images, weights: Weights, tmp_path: Path) -> None:
    teacher = ran(stage(digits, weights, strategy="full", baselines=True, epochs=2), tmp_path / "out")
    assert teacher.baselines is not None
    found = read_baselines(teacher.baselines.path)
    assert (found.part, found.images, found.teacher.score) == ("val", 30, teacher.val_score)
    assert found.linear_probe.score > 0.7 and found.from_scratch and found.from_scratch.views == 60 and found.from_scratch.image_size == 32
    assert found.negative_transfer == (found.from_scratch.score > found.teacher.score + found.teacher.standard_error)
    assert json.loads(teacher.baselines.path.read_text())["strategy"] == "full: as requested"


def test_a_network_from_scratch_that_diverges_is_left_out_and_said(digits: Images, weights: Weights, tmp_path: Path, told: Told) -> None:
    """Its training goes on from an epoch whose weights are so large that its loss overflows, as too high a rate leaves them."""
    torch.manual_seed(0)
    model = build("cifar_resnet16", 3, 32)
    with torch.no_grad():
        model.get_parameter("fc.bias").copy_(torch.tensor([3e38, -3e38, 0.0]))
    (out := tmp_path / "out").mkdir()
    (folder := out / "scratch" / "from-scratch").mkdir(parents=True)
    save_progress(folder, model, as_training_makes_it(model), Progress(rows=[{"epoch": 0.0}]))
    teacher = stage(digits, weights, strategy="full", baselines=True, epochs=1).run(out)
    assert teacher.baselines is not None and teacher.checkpoint.path.is_file()
    found = read_baselines(teacher.baselines.path)
    assert (found.from_scratch, found.negative_transfer) == (None, False) and found.linear_probe.score > 0.7
    said = (
        "no comparison with the network from scratch, because its training diverged: baseline from scratch: expected a finite loss, found "
    )
    assert said in " ".join(told.lines)


def as_training_makes_it(model: torch.nn.Module) -> torch.optim.Optimizer:
    """In two groups: what decays, what does not."""
    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if (p.ndim > 1) == decays], "scale": 1.0} for decays in (True, False)]
    return torch.optim.AdamW(groups)


def test_random_weights_have_no_baselines(digits: Images, tmp_path: Path) -> None:
    teacher = ran(stage(digits, None, arch="cifar_resnet8", epochs=1, baselines=True), tmp_path / "out")
    assert teacher.baselines is None and teacher.reason == "there are no pretrained weights"


@pytest.mark.parametrize("balance", ["sampling", "loss"])
@pytest.mark.parametrize("strategy", ["features", pytest.param("full", marks=pytest.mark.slow)])
def test_balancing_finds_more_of_the_rare_class(
    weights: Weights, tmp_path: Path, balance: Literal["sampling", "loss"], strategy: Literal["features", "full"]
) -> None:
    """100 images, 90 against 10, judged on fresh ones of both."""
    data = some({"3": 90, "8": 10}, val=10)
    fresh = pixel_set(data.only("test"), SIZE, margin=False)
    recall = {}
    for choice in ("none", balance):
        teacher = ran(stage(data, weights, strategy=strategy, balance=choice, epochs=2), tmp_path / choice)
        answers = network_outputs(load_model(teacher.checkpoint.path), fresh, SIZE, torch.device("cpu")).argmax(1)
        recall[choice] = per_class(confusion(fresh.labels.numpy(), answers.numpy(), 2))[1].recall
    assert recall[balance] > recall["none"] or recall["none"] == 1.0


# killed


@pytest.mark.parametrize("strategy", ["features", *(pytest.param(name, marks=pytest.mark.slow) for name in ("staged", "full"))])
def test_killed_anywhere_the_same_bytes_come_out(
    digits: Images, weights: Weights, tmp_path: Path, strategy: Literal["features", "staged", "full"]
) -> None:
    made = stage(digits, weights, strategy=strategy, baselines=True, epochs=3)
    with Workspace(tmp_path / "whole") as do:
        undisturbed = do(made)
    with Workspace(tmp_path / "parts") as do:
        training = [("finetune", 2)] if strategy != "features" else []
        for title, steps in [
            ("teacher features of train", 1),
            ("choose the linear head's penalty", 2),
            *training,
            ("baseline from scratch", 1),
        ]:
            with pytest.raises(Stop), listening(StopIn(title, steps)):
                do(made)
        resumed = do(made)
    assert resumed.checkpoint.sha256 == undisturbed.checkpoint.sha256
    assert resumed.baselines and undisturbed.baselines and resumed.baselines.sha256 == undisturbed.baselines.sha256
