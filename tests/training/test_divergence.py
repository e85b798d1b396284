"""Laws of trainings that come to nothing: they stop at once, say where and what to change, and keep what was good."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgetl.core.errors import DivergedError, InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.models.prune import Pruned
from edgetl.models.refit import refit
from edgetl.models.resnet import CifarResNet
from edgetl.settings import Runtime
from edgetl.training.device import pinned
from edgetl.training.features import frozen_features
from edgetl.training.fit import fit
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.inherit import inherit
from edgetl.training.job import Group, Recipe, TrainingBatch, TrainingJob

CPU = torch.device("cpu")
PREPROCESS = Preprocess(size=16, resize=16)


def images(count: int, seed: int) -> PixelSet:
    rng = np.random.default_rng(seed)
    return PixelSet(torch.from_numpy(rng.integers(0, 255, (count, 3, 16, 16), dtype=np.uint8)), torch.arange(count) % 2)


def small() -> nn.Module:
    torch.manual_seed(0)
    return CifarResNet((1, 1, 1), (8, 8, 8), 2)


def job(
    model: nn.Module | None = None, *, train: int = 16, batch_size: int = 4, epochs: int = 4, start_counts: bool = False
) -> TrainingJob:
    model = model or small()
    return TrainingJob(
        title="distill",
        model=model,
        groups=[Group(parameters=list(model.parameters()))],
        train=images(train, 0),
        val=images(6, 1),
        augment=Augment(size=16),
        preprocess=PREPROCESS,
        loss=lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.labels),
        score=lambda outputs, labels: (outputs.argmax(1) == labels).float().mean().item(),
        recipe=Recipe(epochs=epochs, batch_size=batch_size, lr=0.01, weight_decay=0.0, warmup=0.25, seed=3),
        start_counts=start_counts,
    )


def failing_at(step: int, value: float = float("nan")) -> TrainingJob:
    """A job whose loss is no number at that step (from 1)."""
    made, count = job(), [0]

    def loss(net: nn.Module, batch: TrainingBatch) -> Tensor:
        count[0] += 1
        found = nn.functional.cross_entropy(net(batch.x), batch.labels)
        return found * value if count[0] == step else found

    return replace(made, loss=loss)


def run(made: TrainingJob, folder: Path) -> str:
    """The message of a training that diverges."""
    with pinned(Runtime(device="cpu", threads=1)) as device, pytest.raises(DivergedError) as caught:
        fit(made, folder, device)
    return str(caught.value)


def finite(state: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_epoch_and_batch_and_keeps_the_last_good_epoch(tmp_path: Path, value: float) -> None:
    message = run(failing_at(4 + 4 + 3, value), tmp_path)
    kept = tmp_path / "scratch" / "resume.pt"
    assert message == (
        f"distill: expected a finite loss, found {value} in epoch 3 of 4, batch 3 of 4. "
        "The training diverged: lower the learning rate (--lr, now 0.01; in a pipeline --set distill.lr=...), warm up for longer "
        "(--warmup, now 0.25), or check the initial weights. "
        f"The weights after epoch 2 are finite and are kept: --weights {kept} starts from them"
    )
    saved = torch.load(kept, weights_only=True)
    assert saved["progress"]["epoch"] == 2 and finite(saved["model"])
    with (tmp_path / "log.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1"]


def test_the_same_line_again_says_the_same_again(tmp_path: Path) -> None:
    first = run(failing_at(4 + 3), tmp_path)
    assert "in epoch 2 of 4, batch 3 of 4" in first
    assert run(failing_at(3), tmp_path) == first  # resumed: what fails is the third step of the second epoch again


def test_a_first_loss_that_is_no_number_is_blamed_on_the_weights(tmp_path: Path) -> None:
    message = run(failing_at(1), tmp_path)
    assert "in epoch 1 of 4, batch 1 of 4. No training step was made before, so the initial weights are too large or damaged" in message
    assert message.endswith("No epoch ended with finite weights; no checkpoint was written") and not (tmp_path / "scratch").exists()


def test_weights_that_are_no_numbers_after_an_epoch_are_named(tmp_path: Path) -> None:
    made = job()

    class Wrecked(nn.Module):
        """Its last step of the first epoch gives an infinite gradient, so that no loss tells of it."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.steps = made.model, 0

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.steps += 1
            logits: Tensor = self.net(x)
            if self.training and self.steps == 4:
                logits.register_hook(lambda gradient: gradient * float("inf"))
            return logits

    model = Wrecked()
    message = run(replace(made, model=model, groups=[Group(parameters=list(model.parameters()))]), tmp_path)
    assert message.startswith("distill: expected finite weights, found ") and " in net." in message and "after epoch 1 of 4." in message
    assert not (tmp_path / "scratch").exists()


def test_weights_so_large_that_answers_overflow_are_named_before_the_first_epoch(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.get_parameter("fc.bias").copy_(torch.tensor([3e38, -3e38]))
    assert "expected a finite loss on val, found inf before the first epoch." in run(job(model, start_counts=True), tmp_path)


def test_what_is_kept_can_be_started_from(tmp_path: Path) -> None:
    """As the message says: `--weights resume.pt`."""
    from edgetl.models.unwrap import unwrap

    run(failing_at(4 + 1), tmp_path)
    content = torch.load(tmp_path / "scratch" / "resume.pt", weights_only=True)
    tensors, said = unwrap(content, small().state_dict(), "resume.pt")
    assert said == "found under model" and all(torch.equal(tensors[name], value) for name, value in content["model"].items())


# heads, features, pruning


def test_a_head_whose_loss_is_no_number_stops(tmp_path: Path) -> None:
    x = np.full((8, 4), 3e38, dtype=np.float32)
    head = nn.Linear(4, 2)
    recipe = HeadRecipe(epochs=3, lr=0.5, weight_decay=0.0, batch_size=4, seed=0)
    labels = torch.arange(8) % 2
    with pytest.raises(
        DivergedError, match=r"head: expected a finite loss, found (nan|inf) in epoch 1, batch 1 of 2, .*--head-lr, now 0\.5"
    ):
        fit_head(
            head,
            [x],
            labels,
            unseen=x,
            val_loss=lambda outputs: nn.functional.cross_entropy(outputs, labels).item(),
            loss=lambda outputs, wanted: nn.functional.cross_entropy(outputs * 1e6, wanted),
            recipe=recipe,
        )


def test_features_that_are_no_numbers_name_the_images(tmp_path: Path) -> None:
    x = torch.zeros(20, 3, 4, 4)
    x[13] = float("inf")
    with pytest.raises(
        InputError, match=r"expected finite features of the pretrained network, found NaN or infinity for the images 1 to 20 of 20"
    ):
        frozen_features(nn.Flatten(), lambda rows: x[rows], len(x), CPU, tmp_path / "f")


def pruned(teacher: nn.Module) -> Pruned:
    with pinned(Runtime(device="cpu", threads=1)) as device:
        return inherit(
            teacher.eval(), "cifar_resnet8", 0.5, train=images(12, 0), augment=Augment(size=16), sees=PREPROCESS, seed=0, device=device
        )


def test_a_teacher_whose_answers_overflow_is_not_pruned() -> None:
    teacher = CifarResNet((1, 1, 1), (16, 32, 64), 2)
    with torch.no_grad():
        teacher.get_parameter("fc.weight").fill_(3e38)
    with pytest.raises(InputError, match="expected finite outputs of the network that is pruned"):
        pruned(teacher)


def test_a_layer_that_nothing_reaches_is_left_as_it_is() -> None:
    """Its regression would have no solution."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 3, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.fill_(-1.0)
    before = network[2].weight.clone()
    kept = {"0": torch.arange(4), "2": torch.arange(2)}
    refit(network, network, kept, torch.rand(8, 3, 8, 8))
    assert torch.equal(network[2].weight, before)


# remainders


class OnePixel(nn.Module):
    """BatchNorm on maps of one pixel: torch refuses to take statistics of one image there."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 16), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.batches.append(len(x))
        logits: Tensor = self.body(x)
        return logits


@pytest.mark.parametrize(("count", "batch_size"), [(5, 2), (3, 2), (7, 3), (65, 64), (2, 64), (9, 4), (129, 2)])
def test_no_step_has_one_image_and_each_image_is_seen_once(tmp_path: Path, count: int, batch_size: int) -> None:
    model = OnePixel()
    with pinned(Runtime(device="cpu", threads=1)) as device:
        fit(job(model, train=count, batch_size=batch_size, epochs=1), tmp_path, device)
    assert sum(model.batches) == count and min(model.batches) >= 2
    assert max(model.batches) <= max(batch_size, 3)


def test_one_training_image_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 2 training images at least, found 1"):
        fit(job(train=1), tmp_path, CPU)


def test_the_guard_can_fail_torch_refuses_one_image() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        OnePixel().train()(torch.zeros(1, 3, 16, 16))
