"""The teacher's answers: remembered ones are those it gave; mixing is keyed and mixes all alike; features are matched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgetl.models.build import build
from edgetl.training.features import memory_mapped
from edgetl.training.job import TrainingBatch
from edgetl.training.teaching import Live, Mixing, Remembered, Taught, WatchedNetwork

IMAGES, ROUNDS, CLASSES, FEATURES = 12, 3, 4, 64


def network() -> nn.Module:
    torch.manual_seed(0)
    return build("cifar_resnet8", CLASSES, 32).eval()


def views(number: int) -> Tensor:
    """[images, 3, 32, 32]."""
    return torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(number))


def batch(number: int, start: int, stop: int) -> TrainingBatch:
    x = views(number)[start:stop]
    return TrainingBatch(x=x, labels=torch.zeros(len(x), dtype=torch.long), round=number, places=slice(start, stop), seed=0)


def remembered(folder: Path, teacher: nn.Module, *, watched: bool = True) -> Remembered:
    live = Live(teacher=WatchedNetwork(teacher, watched=watched), shrink=lambda x: x)
    features = FEATURES if watched else 0
    return Remembered(live, folder / "answers", rounds=ROUNDS, images=IMAGES, outputs=CLASSES, features=features)


@pytest.mark.parametrize("watched", [True, False])
def test_remembered_answers_are_those_that_the_teacher_gave(tmp_path: Path, watched: bool) -> None:
    teacher = network()
    teach = remembered(tmp_path, teacher, watched=watched)
    asked = [batch(0, 0, 5), batch(0, 5, 12), batch(2, 3, 7)]
    first = [teach(each, each.x) for each in asked]
    with torch.no_grad():
        assert all(torch.equal(found.logits, teacher(each.x)) for found, each in zip(first, asked, strict=True))
    for parameter in teacher.parameters():
        parameter.data.zero_()  # it would answer otherwise now
    again = [remembered(tmp_path, teacher, watched=watched)(each, each.x) for each in asked]  # another process
    assert all(torch.equal(one.logits, two.logits) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(one.features, two.features) for one, two in zip(first, again, strict=True))
    assert again[0].features.shape == (5, FEATURES if watched else 0)


def test_what_a_kill_left_half_written_is_asked_again(tmp_path: Path) -> None:
    teach, asked = remembered(tmp_path, network()), batch(1, 2, 6)
    wanted = teach(asked, asked.x)
    rows = memory_mapped(tmp_path / "answers", (ROUNDS, IMAGES, 1 + CLASSES + FEATURES))
    rows[1, 2:6] = 0
    rows[1, 3, 1:] = 7.0  # numbers, and no word that they are whole
    rows[1, 5, 0] = 1.0  # a word, and no numbers: the disk kept them in another order
    again = remembered(tmp_path, network())(asked, asked.x)
    assert torch.equal(again.logits, wanted.logits) and torch.equal(again.features, wanted.features)


def test_mixing_is_the_same_whenever_a_batch_comes_again_and_else_another() -> None:
    one, again = Mixing.of(batch(1, 0, 6), 1.0), Mixing.of(batch(1, 0, 6), 1.0)
    assert torch.equal(one.share, again.share) and torch.equal(one.partner, again.partner)
    others = [Mixing.of(batch(0, 0, 6), 1.0), Mixing.of(batch(1, 1, 7), 1.0)]
    assert not any(torch.equal(one.share, other.share) for other in others)


def test_shares_are_those_of_the_beta_distribution() -> None:
    labels = torch.zeros(IMAGES, dtype=torch.long)
    batches = [TrainingBatch(x=views(0), labels=labels, round=number, places=slice(0, IMAGES), seed=0) for number in range(200)]
    made = [Mixing.of(each, 0.5) for each in batches]
    shares = torch.cat([mixing.share for mixing in made]).numpy()
    assert shares.min() >= 0 and shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=0.03) and shares.var() == pytest.approx(1 / 8, abs=0.01)  # Beta(a, a): 1 / (4 (2a + 1))


def test_views_labels_and_answers_are_mixed_alike() -> None:
    mixing = Mixing(share=torch.tensor([[0.25], [1.0]]), partner=torch.tensor([1, 0]))
    x = torch.stack([torch.full((3, 2, 2), 4.0), torch.full((3, 2, 2), 8.0)])
    assert mixing(x)[:, 0, 0, 0].tolist() == [7.0, 8.0] and mixing(torch.eye(2)).tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_features_are_what_enters_the_head() -> None:
    model, x = network(), views(0)
    features, logits = WatchedNetwork(model, watched=True).both(x)
    head = model.get_submodule("fc")
    assert torch.allclose(head(features), logits, atol=1e-6) and torch.equal(model(x), logits)
    assert WatchedNetwork(network(), watched=False).both(x)[0].shape == (IMAGES, 0)


def test_feature_loss_is_nothing_where_the_adapter_gives_the_teachers_features() -> None:
    taught = Taught(network(), (6, 5))
    assert taught.adapter is not None
    student = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        told = taught.adapter(student)
    assert taught.feature_loss(student, told).item() == pytest.approx(0, abs=1e-10)
    assert taught.feature_loss(student, told + told.var().sqrt()).item() == pytest.approx(1, rel=1e-5)
    assert {name.split(".")[0] for name, _ in taught.named_parameters()} == {"student", "adapter"}


def test_the_adapter_learns_with_the_student() -> None:
    taught = Taught(network(), (FEATURES, 3))
    told = torch.from_numpy(np.ones((IMAGES, 3), dtype=np.float32)) * torch.tensor([0.0, 1.0, 2.0])
    features, _ = taught.observed.both(views(0))
    taught.feature_loss(features, told).backward()  # type: ignore[no-untyped-call]
    assert taught.adapter is not None and taught.adapter.weight.grad is not None
    assert taught.student.get_submodule("conv1").weight.grad.abs().sum() > 0
