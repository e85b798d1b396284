"""Out of fold means of scenes that the head did not see: near-duplicates stay in one fold."""

from __future__ import annotations

import numpy as np
import pytest

from edgetl.training.balance import worth_of
from edgetl.training.linear import fit_linear, folds_of

SCENES, FRAMES = 30, 6


def bursts(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and scenes: the label is thrown for each scene, so nothing can be learned about other ones."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(SCENES), FRAMES)
    x = rng.normal(size=(SCENES, 64))[scene] + 0.2 * rng.normal(size=(len(scene), 64))
    label = rng.permutation(np.arange(SCENES) % 2)
    return x.astype(np.float32), label[scene], scene


def test_of_bursts_with_labels_by_chance_the_folds_say_chance_as_fresh_scenes_do() -> None:
    told, leaky, fresh = [], [], []
    for seed in range(20):
        x, y, scene = bursts(seed)
        head = fit_linear([x], y, 2, weights=None, seed=seed, threads=1, groups=scene)
        told.append((head.unseen.argmax(1) == y[head.chosen]).mean())
        blind = fit_linear([x], y, 2, weights=None, seed=seed, threads=1)
        leaky.append((blind.unseen.argmax(1) == y[blind.chosen]).mean())
        others, truth, _ = bursts(1000 + seed)
        fresh.append((head(others).argmax(1) == truth).mean())
    assert abs(np.mean(fresh) - 0.5) < 0.06
    assert abs(np.mean(told) - np.mean(fresh)) < 0.12 and np.mean(leaky) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_fold_and_classes_are_dealt_out_evenly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, 120)
    groups = rng.permutation(np.repeat(np.arange(120), sizes))
    label_of = rng.integers(0, 3, 120)
    labels = np.where(rng.random(len(groups)) < 0.95, label_of[groups], rng.integers(0, 3, len(groups)))  # some scenes show two classes
    folds = folds_of(labels, seed, 5, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(120)) and set(folds) == set(range(5))
    table = np.array([[((folds == fold) & (labels == label)).sum() for fold in range(5)] for label in range(3)])
    assert (np.abs(table - table.mean(axis=1, keepdims=True)) <= 5).all()  # the size of a group
    assert (folds == folds_of(labels, seed, 5, groups)).all()


def test_without_near_duplicates_the_folds_are_as_they_were() -> None:
    labels = np.arange(100) % 3
    assert (folds_of(labels, 4, 5, np.arange(100)) == folds_of(labels, 4, 5)).all()


def test_images_that_look_alike_tell_as_much_as_one() -> None:
    labels, groups = np.array([0] * 6 + [1] * 6), np.array([0] * 6 + [1, 2, 3, 4, 5, 6])
    assert worth_of(labels, groups, balanced=True) == 7 and worth_of(labels, balanced=True) == 12
    assert worth_of(labels) == 12 and worth_of(labels, groups) == pytest.approx(4 / (1 / 1 + 1 / 6))
