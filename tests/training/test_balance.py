"""Laws of unbalanced classes in training: what chooses the epoch, what is drawn, what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.models.resnet import CifarResNet
from edgetl.settings import Runtime
from edgetl.stages.finetune import harmed
from edgetl.tasks.classification import Classification
from edgetl.training.balance import Balancing, balancing, mean_recall, worth_of
from edgetl.training.device import pinned
from edgetl.training.fit import Fit, _note, standard_error
from edgetl.training.inherit import examples
from edgetl.training.job import Group, Recipe, TrainingJob
from edgetl.training.progress import Evaluated, Progress
from edgetl.training.score import balanced_score_with, score_with
from edgetl.training.scratch import Scratch, from_scratch

PREPROCESS = Preprocess(size=16, resize=16)
TASK = Classification(classes=("common", "rare"))


def rare(count: int, every: int, seed: int) -> PixelSet:
    """Noise; every so manyth image is of the rare class 1, and has a faint stripe."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % every == 0).astype(np.int64)
    pixels = rng.integers(0, 120, (count, 3, 16, 16))
    pixels[labels == 1, :, ::4] += 30
    return PixelSet(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))


def test_the_mean_recall_is_scikit_learns_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3, 7):
        labels, answers = (
            rng.choice(classes, 200, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()),
            rng.integers(0, classes, 200),
        )
        assert mean_recall(answers == labels, labels) == pytest.approx(balanced_accuracy_score(labels, answers))


def test_balanced_images_are_worth_their_number_and_unbalanced_ones_what_their_spread_says() -> None:
    assert worth_of(np.arange(60) % 3) == pytest.approx(60)
    labels = np.array([0] * 95 + [1] * 5)
    rng = np.random.default_rng(0)
    drawn = [mean_recall(rng.random(100) < 0.8, labels) for _ in range(5_000)]
    assert np.std(drawn) == pytest.approx((0.8 * 0.2 / worth_of(labels)) ** 0.5, rel=0.05)


def noted(job: TrainingJob, *seen: Evaluated) -> Progress:
    state = Progress()
    for each in seen:
        _note(state, job, each, 0.0, 0.0)
    return state


def job(*, balanced: bool) -> TrainingJob:
    data, model = rare(400, 10, 0), nn.Linear(1, 2)
    balance = balancing("auto", data.labels, 2)
    assert balance.kind == "sampling"
    return TrainingJob(
        title="test",
        model=model,
        groups=[Group(parameters=list(model.parameters()))],
        train=data,
        val=rare(400, 10, 1),
        augment=Augment(size=16),
        preprocess=PREPROCESS,
        loss=lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.labels),
        score=score_with(TASK),
        recipe=Recipe(epochs=2, batch_size=16, lr=0.01, weight_decay=0.0, warmup=0.0, seed=0),
        balanced=balanced_score_with(TASK, balance) if balanced else None,
    )


def test_the_epoch_that_knows_the_rare_class_is_kept_and_the_score_that_is_reported_stays_top1() -> None:
    blind, knowing = Evaluated(loss=0.4, score=0.9, balanced=0.5), Evaluated(loss=0.5, score=0.8, balanced=0.85)
    state = noted(job(balanced=True), blind, knowing)
    assert (state.best_epoch, state.best_score, state.best_balanced) == (1, 0.8, 0.85)
    assert [(row["val_score"], row["val_balanced"]) for row in state.rows] == [(0.9, 0.5), (0.8, 0.85)]
    assert noted(job(balanced=True), knowing, blind).best_epoch == 0


def test_among_epochs_that_frames_of_a_few_scenes_cannot_tell_apart_the_least_loss_decides() -> None:
    """0.93 and 0.90 of 410 frames: two standard errors of 410 photos, half of one of 41 scenes of ten."""
    higher, surer = Evaluated(loss=0.5, score=0.93), Evaluated(loss=0.4, score=0.9)
    photos = job(balanced=False)
    scenes = replace(photos, val_groups=np.arange(len(photos.val)) // 10)
    assert noted(photos, higher, surer).best_epoch == 0 and noted(scenes, higher, surer).best_epoch == 1
    assert noted(replace(photos, val_groups=np.arange(len(photos.val))), higher, surer).best_epoch == 0


def test_the_guard_can_fail_top1_alone_keeps_the_blind_one() -> None:
    state = noted(job(balanced=False), Evaluated(loss=0.4, score=0.9), Evaluated(loss=0.5, score=0.8))
    assert (state.best_epoch, state.best_score, state.best_balanced) == (0, 0.9, None)
    assert "val_balanced" not in state.rows[0]


def test_balanced_classes_change_nothing() -> None:
    balance = balancing("auto", torch.arange(100) % 2, 2)
    assert (balance.kind, balance.shares, balance.class_weights, balance.loss_weights) == ("none", None, None, None)
    assert balanced_score_with(TASK, balance) is None


@pytest.mark.parametrize(("wanted", "drawn", "weighed"), [("sampling", True, False), ("loss", False, True)])
def test_rare_images_come_more_often_or_weigh_more_but_not_both(wanted: str, drawn: bool, weighed: bool) -> None:
    balance = balancing(wanted, rare(100, 10, 0).labels, 2)  # type: ignore[arg-type]
    assert (balance.shares is not None, balance.loss_weights is not None) == (drawn, weighed)
    assert balance.class_weights is not None
    np.testing.assert_allclose(balance.class_weights.numpy(), [100 / 2 / 90, 100 / 2 / 10], rtol=1e-6)


def test_weights_of_images_in_the_distillation_loss_are_those_of_copies() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    times = torch.tensor([1, 3, 1, 2, 1, 4])
    weighed = TASK.distillation_loss(student, teacher, 2.0, times.float())
    copied = TASK.distillation_loss(student.repeat_interleave(times, 0), teacher.repeat_interleave(times, 0), 2.0)
    assert weighed.item() == pytest.approx(copied.item(), rel=1e-5)
    alike = TASK.distillation_loss(student, teacher, 2.0, torch.full((6,), 0.7))
    assert alike.item() == pytest.approx(TASK.distillation_loss(student, teacher, 2.0).item(), rel=1e-5)


def test_pruning_looks_at_rare_classes_too() -> None:
    """Shown by their color: what is chosen are half of each class, as often as there are so many."""
    labels = (torch.arange(960) % 20 == 0).long()
    pixels = torch.zeros(960, 3, 16, 16, dtype=torch.uint8)
    pixels[labels == 1] = 255
    data = PixelSet(pixels, labels)
    shares = balancing("auto", labels, 2).shares
    bright = [(examples(data, Augment(size=16), PREPROCESS, 0, s).mean(dim=(1, 2, 3)) > 0).float().mean().item() for s in (None, shares)]
    assert bright[0] < 0.12 and bright[1] > 0.3


def scratch(kind: str, folder: Path, *, epochs: int = 2, patience: int | None = None) -> Scratch:
    data = rare(160, 10, 0)
    torch.manual_seed(0)
    balance = Balancing(kind=kind, labels=data.labels.numpy(), classes=2)  # type: ignore[arg-type]
    with pinned(Runtime(device="cpu", threads=1)) as device:
        return from_scratch(
            CifarResNet((1, 1, 1), (8, 8, 8), 2),
            train=data,
            val=rare(60, 3, 1),
            augment=Augment(size=16),
            preprocess=PREPROCESS,
            size=16,
            loss=lambda outputs, labels: nn.functional.cross_entropy(outputs, labels),
            score=score_with(TASK),
            recipe=Recipe(epochs=epochs, batch_size=16, lr=0.005, weight_decay=0.0, warmup=0.1, seed=0, patience=patience),
            shares=balance.shares,
            class_weights=balance.class_weights,
            balanced=balanced_score_with(TASK, Balancing(kind="sampling", labels=balance.labels, classes=2)),
            folder=folder,
            device=device,
        )


def test_the_network_from_scratch_is_balanced_as_the_teacher_is(tmp_path: Path) -> None:
    blind, balanced = scratch("none", tmp_path / "blind").fit, scratch("sampling", tmp_path / "balanced").fit
    assert blind.best_balanced is not None and balanced.best_balanced is not None
    assert balanced.best_balanced > blind.best_balanced + 0.1


def test_views_of_the_network_from_scratch_are_those_of_the_epochs_that_ran(tmp_path: Path) -> None:
    """Its training stops early: the log has fewer epochs than were allowed, and the views are those of the log."""
    found = scratch("sampling", tmp_path, epochs=30, patience=1)
    logged = len((tmp_path / "log.csv").read_text().splitlines()) - 1
    assert found.fit.epochs == logged < 30 and found.views == logged * len(rare(160, 10, 0))


def test_harm_is_told_by_what_chose_both(capsys: pytest.CaptureFixture[str]) -> None:
    """A network from scratch that never names the rare class has the higher top1, and is not better for that."""
    labels = np.array([0] * 900 + [1] * 100)
    scratch = Fit(best_epoch=0, best_score=0.9, best_balanced=0.5, epochs=1)
    assert not harmed(scratch, Fit(best_epoch=0, best_score=0.8, best_balanced=0.8, epochs=1), labels)
    assert harmed(Fit(best_epoch=0, best_score=0.8, best_balanced=0.8, epochs=1), scratch, labels)
    assert harmed(Fit(best_epoch=0, best_score=0.9, epochs=1), Fit(best_epoch=0, best_score=0.8, epochs=1), labels)
    assert 2 * standard_error(0.8, worth_of(labels)) < 0.1
    better, own = (Fit(best_epoch=0, best_score=score, epochs=1) for score in (0.87, 0.8))
    assert harmed(better, own, labels) and not harmed(better, own, labels, np.arange(len(labels)) // 50)
