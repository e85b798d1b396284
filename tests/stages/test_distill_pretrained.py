"""A student with weights from pip: pruned, taught by remembered answers to mixed views; killed anywhere, the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgetl.core.artifacts import Checkpoint
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.checkpoint import load_model, read_checkpoint, save_checkpoint
from edgetl.selection.choices import for_student
from edgetl.settings import DataSettings, DistillSettings, Runtime
from edgetl.stages.distill import Distill

from ..conftest import Stop
from .conftest import StopIn

SEES = Preprocess(size=32, resize=32)
WANTED = DistillSettings(
    arch="efficientnet_lite0_early", keep=0.5, image_size=48, epochs=4, answers=2, features=0.1, mix=1.0, freeze=2, batch_size=16
)


@pytest.fixture(scope="module")
def data() -> Images:
    every = open_images(None, DataSettings()).only("train", "val")
    return replace(every, refs=every.refs[::25])


@pytest.fixture(scope="module")
def teacher(data: Images, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    model = build("cifar_resnet8", len(data.classes), 32)
    save_checkpoint(path, model=model, arch="cifar_resnet8", classes=data.classes, preprocess=SEES, seen=data.seen(), provenance={})
    return Checkpoint.of(path)


def stage(data: Images, teacher: Checkpoint, unlabelled: Images | None = None) -> Distill:
    chosen = for_student(data, WANTED, "cifar_resnet8", 32, Path("nothing is downloaded"))
    return Distill(
        teacher=teacher,
        data=data,
        settings=chosen.settings,
        weights=chosen.weights,
        unlabelled=unlabelled,
        runtime=Runtime(device="cpu", threads=1),
    )


def test_it_starts_from_the_package_is_pruned_and_comes_back(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    made = stage(data, teacher)
    assert made.settings.weights == "package" and made.settings.pretrained and made.settings.hard_weight == 0.0
    student = made.run(tmp_path)
    info, model = read_checkpoint(student.checkpoint.path), load_model(student.checkpoint.path)
    whole = parameter_count(build("efficientnet_lite0_early", len(data.classes), 48))
    assert info.arch == "efficientnet_lite0_early" and info.preprocess.side == 48 and info.pruned is not None
    assert 0.4 * whole <= parameter_count(model) <= 0.5 * whole
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 48, 48)).shape == (1, len(data.classes))


def test_killed_before_and_while_batches_come_again_the_same_bytes_come_out(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    made = stage(data, teacher)
    with Workspace(tmp_path / "whole") as do:
        undisturbed = do(made)
    with Workspace(tmp_path / "parts") as do:
        for epochs in (1, 2):  # of what is left: in the first round, and where answers are remembered
            with pytest.raises(Stop), listening(StopIn("distill", epochs + (epochs > 1))):
                do(made)
        resumed = do(made)
    assert resumed.checkpoint.sha256 == undisturbed.checkpoint.sha256


def test_photos_without_labels_are_learned_from_and_recorded_as_seen(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    every = open_images(None, DataSettings()).only("train")
    others = replace(every, refs=tuple(ref for ref in every.refs[1::50] if ref.sha256 not in set(data.hashes)))
    (with_them := tmp_path / "with").mkdir()
    (without := tmp_path / "without").mkdir()
    student = stage(data, teacher, others).run(with_them)
    seen = read_checkpoint(student.checkpoint.path).seen
    assert all(seen.part_of(sha) == "train" for sha in others.hashes)
    assert student.checkpoint.sha256 != stage(data, teacher).run(without).checkpoint.sha256


@pytest.mark.parametrize(
    ("arch", "images", "epochs"),
    [
        *(("efficientnet_lite0_short", *each) for each in ((100, 80), (211, 76), (1_000, 20), (2_500, 20), (5_000, 10), (10_000, 8))),
        *(("efficientnet_lite0_early", *each) for each in ((100, 80), (211, 76), (1_000, 60), (2_500, 40), (5_000, 20), (20_000, 8))),
    ],
)
def test_thousands_of_photos_are_all_looked_at_often_enough(arch: str, images: int, epochs: int) -> None:
    settings = DistillSettings(arch=arch, weights="package")
    assert settings.epochs_for(images) == epochs
    assert settings.but(epochs=3).epochs_for(images) == 3
