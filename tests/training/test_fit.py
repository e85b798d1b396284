"""Laws of the training loop: interrupted or not, it gives the same bytes; the best epoch is the one that is kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.models.resnet import CifarResNet
from edgetl.settings import Runtime
from edgetl.training.device import pick_device, pinned
from edgetl.training.fit import _order, fit, standard_error
from edgetl.training.job import Group, Recipe, TrainingJob
from edgetl.training.progress import resumable

from ..conftest import Stop, Told

PREPROCESS = Preprocess(size=16, resize=16)


def stripes(count: int, seed: int) -> PixelSet:
    """Noise with horizontal (0) or vertical (1) stripes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 120, (count, 3, 16, 16))
    pixels[labels == 0, :, ::4] += 100
    pixels[labels == 1, :, :, ::4] += 100
    return PixelSet(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels))


class WithDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = CifarResNet((1, 1, 1), (8, 8, 8), 2)
        self.drop = nn.Dropout2d(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(self.drop(x))
        return logits


def job(epochs: int = 4, *, lr: float = 0.01, patience: int | None = None, start_counts: bool = False) -> TrainingJob:
    torch.manual_seed(0)
    model = WithDropout()
    return TrainingJob(
        title="test",
        model=model,
        groups=[Group(parameters=list(model.parameters()))],
        train=stripes(50, 0),
        val=stripes(20, 1),
        augment=Augment(size=16, shift=2),
        preprocess=PREPROCESS,
        loss=lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.labels),
        score=lambda outputs, labels: (outputs.argmax(1) == labels).float().mean().item(),
        recipe=Recipe(epochs=epochs, batch_size=16, lr=lr, weight_decay=0.01, warmup=0.1, seed=3, patience=patience),
        start_counts=start_counts,
    )


class StopAfter(Told):
    """A listener that interrupts the run when `epochs` are done."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.left = epochs

    def moved(self, title: str, steps: float, note: str) -> None:
        self.left -= bool(note)
        if note and self.left == 0:
            raise Stop


@contextmanager
def device() -> Iterator[torch.device]:
    with pinned(Runtime(device="cpu", threads=1)) as found:
        yield found


def weights(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_interrupted_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    undisturbed = job()
    with device() as cpu:
        fit(undisturbed, whole, cpu)
        for _ in range(3):
            with pytest.raises(Stop), listening(StopAfter(1)):
                fit(job(), parts, cpu)
        resumed = job()
        fit(resumed, parts, cpu)
    assert weights(resumed.model) == weights(undisturbed.model)
    assert weights(resumed.model) != weights(job().model)


@pytest.mark.parametrize("tear", ["byte", "short"])
def test_a_torn_state_is_noticed_said_and_training_begins_anew(tmp_path: Path, tear: str) -> None:
    """Torch itself reads a file with another byte in it without a word."""
    (whole := tmp_path / "whole").mkdir()
    (torn := tmp_path / "torn").mkdir()
    undisturbed = job()
    with device() as cpu:
        fit(undisturbed, whole, cpu)
        with pytest.raises(Stop), listening(StopAfter(2)):
            fit(job(), torn, cpu)
        content = bytearray((resume := torn / "scratch" / "resume.pt").read_bytes())
        if tear == "byte":
            content[content.find(b"/data/0") + 600] ^= 0x40  # of a tensor
            torch.load(io.BytesIO(content), weights_only=True)
        resume.write_bytes(content if tear == "byte" else content[:-100])
        assert not resumable(resume) and not resume.exists()
        resume.write_bytes(content if tear == "byte" else content[:-100])
        anew = job()
        fit(anew, torn, cpu)
    assert weights(anew.model) == weights(undisturbed.model)


def test_the_guard_can_fail_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one, other = job(1), job(1)
    other = TrainingJob(**{**vars(other), "recipe": Recipe(**{**vars(other.recipe), "seed": 4})})
    with device() as cpu:
        for name, each in (("one", one), ("other", other)):
            (tmp_path / name).mkdir()
            fit(each, tmp_path / name, cpu)
    assert weights(one.model) != weights(other.model)


def test_it_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    trained = job(6)
    with device() as cpu:
        result = fit(trained, tmp_path, cpu)
    with (tmp_path / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == result.epochs == 6
    scores, losses = ([float(row[name]) for row in rows] for name in ("val_score", "val_loss"))
    enough = max(scores) - standard_error(max(scores), 20)
    best = min((loss, epoch) for epoch, (loss, score) in enumerate(zip(losses, scores, strict=True)) if score >= enough)[1]
    assert best == result.best_epoch and scores[best] == pytest.approx(result.best_score)
    assert result.best_score >= 0.9


def test_the_standard_error_is_the_binomial_one_and_never_zero() -> None:
    assert standard_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
    assert 0 < standard_error(1.0, 186) < 0.01
    assert standard_error(1.0, 186) == pytest.approx(standard_error(0.0, 186))


def test_patience_ends_a_training_that_goes_nowhere(tmp_path: Path) -> None:
    with device() as cpu:
        result = fit(job(50, lr=1e-12, patience=2), tmp_path, cpu)
    assert result.epochs < 50


def test_the_weights_from_before_may_be_the_best(tmp_path: Path) -> None:
    trained = job(2, lr=1.0, start_counts=True)
    trained = TrainingJob(**{**vars(trained), "score": lambda outputs, labels: -float(outputs.abs().max())})
    before = weights(trained.model)
    with device() as cpu:
        result = fit(trained, tmp_path, cpu)
    assert result.best_epoch == -1 and weights(trained.model) == before


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Exception, match=r"expected the device 'cuda', found only: cpu"):
        pick_device("cuda")


# groups that wait, images that come more often


def bytes_of(group: Group) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in group.parameters]


def waiting_job() -> tuple[TrainingJob, Group]:
    """The stem and its norm wait for the second of two epochs."""
    made = job(2)
    net = made.model.net
    stem = [*net.conv1.parameters(), *net.bn1.parameters()]
    waits = Group(parameters=stem, begins=0.5)
    others = Group(parameters=[p for p in made.model.parameters() if all(p is not q for q in stem)])
    return TrainingJob(**{**vars(made), "groups": [waits, others]}), waits


def test_a_group_waits_for_its_time_and_its_norms_with_it(tmp_path: Path) -> None:
    (trained, waits), (resumed, _) = waiting_job(), waiting_job()
    before, mean = bytes_of(waits), trained.model.net.bn1.running_mean.clone()
    with device() as cpu:
        with pytest.raises(Stop), listening(StopAfter(1)):
            fit(trained, tmp_path, cpu)
        assert bytes_of(waits) == before and torch.equal(trained.model.net.bn1.running_mean, mean)
        fit(resumed, tmp_path, cpu)
    saved = torch.load(tmp_path / "scratch" / "resume.pt", weights_only=True)["model"]
    assert not torch.equal(saved["net.bn1.running_mean"], mean)
    assert saved["net.conv1.weight"].numpy().tobytes() != before[0]
    assert all(p.requires_grad for p in resumed.model.parameters())


def test_staged_training_interrupted_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    def staged() -> TrainingJob:
        made = job(4)
        first, rest = list(made.model.parameters())[:3], list(made.model.parameters())[3:]
        shares = torch.tensor([1.0, 4.0]).repeat(25)
        groups = [Group(parameters=first, begins=0.5), Group(parameters=rest)]
        return TrainingJob(**{**vars(made), "groups": groups, "shares": shares, "class_weights": torch.tensor([0.5, 2.0])})

    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    undisturbed, resumed = staged(), staged()
    with device() as cpu:
        fit(undisturbed, whole, cpu)
        for _ in range(2):
            with pytest.raises(Stop), listening(StopAfter(1)):
                fit(staged(), parts, cpu)
        fit(resumed, parts, cpu)
    assert weights(resumed.model) == weights(undisturbed.model)


def test_an_image_is_drawn_in_proportion_to_its_share_and_each_time_seen_anew() -> None:
    made = job()
    shares = torch.tensor([1.0, 4.0]).repeat(25)
    drawn = [_order(TrainingJob(**{**vars(made), "shares": shares}), epoch) for epoch in range(40)]
    odd = np.concatenate([order for order, _ in drawn]) % 2
    assert odd.mean() == pytest.approx(0.8, abs=0.03)
    assert all(len(np.unique(views, axis=0)) == 50 for _, views in drawn)
    order, views = _order(made, 0)
    assert sorted(order) == list(range(50)) and np.array_equal(views, made.augment.draws(3, 0, 50)[order])
