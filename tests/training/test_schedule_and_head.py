"""Laws of the learning rate, of frozen features, and of heads fitted on them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from edgetl.core.progress import listening
from edgetl.training.features import frozen_features
from edgetl.training.head import HeadRecipe, fit_head
from edgetl.training.linear import fit_linear
from edgetl.training.schedule import cosine

from ..conftest import Stop, Told

CPU = torch.device("cpu")


def test_the_rate_rises_linearly_peaks_and_falls_to_zero() -> None:
    assert cosine(0.05, 0.1) == pytest.approx(0.5)
    assert cosine(0.1, 0.1) == pytest.approx(1.0)
    assert cosine(0.55, 0.1) == pytest.approx(0.5)
    assert cosine(1.0, 0.1) == pytest.approx(0.0)
    falling = [cosine(p, 0.1) for p in np.linspace(0.1, 1, 50)]
    assert falling == sorted(falling, reverse=True)


# frozen features


class Counting(nn.Module):
    """A body that counts the images it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.weight * x.mean(dim=(2, 3))


class StopAt(Told):
    """A listener that interrupts when so many images are done."""

    def __init__(self, images: float) -> None:
        super().__init__()
        self.left = images

    def moved(self, title: str, steps: float, note: str) -> None:
        self.left -= steps
        if self.left <= 0 < steps:
            raise Stop


def inputs_of(x: Tensor) -> Callable[[slice], Tensor]:
    return lambda rows: x[rows]


def test_features_are_those_of_the_body_and_each_image_is_seen_once(tmp_path: Path) -> None:
    x, body = torch.randn(1100, 3, 4, 4), Counting()
    found = frozen_features(body, inputs_of(x), len(x), CPU, tmp_path / "f")
    assert np.array_equal(found, x.mean(dim=(2, 3)).numpy())
    again = frozen_features(body, inputs_of(x), len(x), CPU, tmp_path / "f")
    assert np.array_equal(again, found) and body.seen == len(x)
    assert isinstance(found, np.memmap)  # in a file, not in memory


def test_a_killed_run_goes_on_at_the_chunk_where_it_was(tmp_path: Path) -> None:
    x, body = torch.randn(1100, 3, 4, 4), Counting()
    with pytest.raises(Stop), listening(StopAt(600)):
        frozen_features(body, inputs_of(x), len(x), CPU, tmp_path / "f")
    seen = body.seen
    assert 0 < seen < len(x)
    found = frozen_features(body, inputs_of(x), len(x), CPU, tmp_path / "f")
    assert body.seen == len(x) and np.array_equal(found, x.mean(dim=(2, 3)).numpy())


def other_byte(path: Path, place: int) -> None:
    """Another byte at a place, as a disk may hold it whose machine died."""
    with path.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize("tear", ["byte", "short", "gone", "record"])
def test_torn_features_are_noticed_said_and_computed_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str], tear: str) -> None:
    x, body = torch.randn(1100, 3, 4, 4), Counting()
    file, record = tmp_path / "f", tmp_path / "f.json"
    with pytest.raises(Stop), listening(StopAt(600)):
        frozen_features(body, inputs_of(x), len(x), CPU, file)
    done = body.seen
    match tear:
        case "byte":
            other_byte(file, 4 * 3 * 100)  # of an image that is done
        case "short":
            file.write_bytes(file.read_bytes()[:-4])
        case "gone":
            file.unlink()
        case "record":
            record.write_text(record.read_text()[:10])
    found = frozen_features(body, inputs_of(x), len(x), CPU, file)
    assert np.array_equal(found, x.mean(dim=(2, 3)).numpy()) and body.seen == done + len(x)


def test_the_disk_holds_features_before_their_record_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    flush, record = np.memmap.flush, tmp_path / "f.json"

    def watched(array: np.memmap) -> None:  # type: ignore[type-arg]
        said.append(json.loads(record.read_text())["done"] if record.exists() else 0)
        flush(array)

    monkeypatch.setattr(np.memmap, "flush", watched)
    x = torch.randn(1100, 3, 4, 4)
    frozen_features(Counting(), inputs_of(x), len(x), CPU, tmp_path / "f")
    assert said == [0, 512, 1024] and json.loads(record.read_text())["done"] == 1100


# linear heads


def clouds(count: int, classes: int, seed: int, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Points around one center for each class, their features of very different size."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = np.random.default_rng(99).normal(size=(classes, width))
    points = (centers[labels] + rng.normal(size=(count, width))) * 10.0 ** np.arange(-2, width - 2)
    return points.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_head_is_at_the_optimum_of_its_penalized_loss(classes: int) -> None:
    x, y = clouds(120, classes, 0)
    head = fit_linear([x], y, classes, weights=None, seed=0, threads=1)
    mean, scale = x.astype(np.float64).mean(0), x.astype(np.float64).std(0)
    scale = scale + 1e-2 * scale.mean()
    z = (x - mean) / scale

    def penalized(theta: np.ndarray) -> float:
        w, b = theta[:-classes].reshape(classes, -1), theta[-classes:]
        logits = z @ w.T + b
        loss = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1) - logits[np.arange(len(y)), y]
        size = ((w[1] - w[0]) ** 2).sum() if classes == 2 else (w**2).sum()  # of two classes the difference is what is penalized
        return float(head.strength * loss.sum() + 0.5 * size)

    found = np.concatenate([(head.weight * scale).ravel(), head.bias + head.weight @ mean])
    best = minimize(penalized, np.zeros_like(found), options={"maxiter": 2000}).fun
    assert penalized(found) <= best * (1 + 2e-3)
    assert penalized(found * 1.1) > penalized(found)


def test_answers_out_of_fold_are_those_of_heads_that_did_not_see_the_image() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 800)).astype(np.float32), rng.integers(0, 2, 200)
    head = fit_linear([x], y, 2, weights=None, seed=0, threads=1)
    assert abs((head.unseen.argmax(1) == y[head.chosen]).mean() - 0.5) < 0.15  # labels without meaning
    assert (head(x).argmax(1) == y).mean() > 0.7  # which the head itself learned by heart


def test_two_views_of_an_image_lie_in_the_same_fold() -> None:
    """Were they not, copies would make meaningless labels look learnable."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 800)).astype(np.float32), rng.integers(0, 2, 200)
    head = fit_linear([x, x + 1e-3], y, 2, weights=None, seed=0, threads=1)
    assert abs((head.unseen.argmax(1) == y).mean() - 0.5) < 0.15


def test_weights_make_a_head_name_the_rare_class() -> None:
    x, y = clouds(400, 2, 0, width=2)
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:20]])
    fresh, truth = clouds(400, 2, 1, width=2)
    recall = {}
    for name, weights in (("alike", None), ("balanced", np.array([0.55, 5.5], dtype=np.float32))):
        head = fit_linear([x[keep]], y[keep], 2, weights=weights, seed=0, threads=1)
        recall[name] = (head(fresh).argmax(1) == truth)[truth == 1].mean()
    assert recall["balanced"] > recall["alike"] + 0.05


# other heads


def test_a_trained_head_keeps_the_weights_of_the_least_val_loss() -> None:
    x, y = clouds(60, 2, 0)
    x = (x - x.mean(0)) / x.std(0)
    losses: list[float] = []

    def val_loss(outputs: Tensor) -> float:
        losses.append(nn.functional.cross_entropy(outputs, torch.from_numpy(y)).item())
        return losses[-1]

    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    recipe = HeadRecipe(epochs=30, lr=0.5, weight_decay=0.0, batch_size=16, seed=0)
    fit_head(head, [x], torch.from_numpy(y), unseen=x, val_loss=val_loss, loss=nn.functional.cross_entropy, recipe=recipe)
    with torch.no_grad():
        final = nn.functional.cross_entropy(head(torch.from_numpy(x)), torch.from_numpy(y)).item()
    assert len(losses) == 30 and final == pytest.approx(min(losses)) and final < math.log(2) / 2
