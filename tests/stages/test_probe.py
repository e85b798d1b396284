"""Frozen features and a linear head: scores are out of fold, the network is saved with its head, folds are counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgetl.core.errors import InputError
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import load_model
from edgetl.models.weights import Weights
from edgetl.report.folds import read_folds
from edgetl.settings import DataSettings, FinetuneSettings, Runtime
from edgetl.stages.finetune import Finetune
from edgetl.stages.folds import Crossval
from edgetl.stages.probe import Probe

from .conftest import features_file

ONE = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def data() -> Images:
    every = open_images(None, DataSettings()).only("train", "val")
    return replace(every, refs=every.refs[::8])


def shuffled(data: Images) -> Images:
    """The same images, their labels dealt out anew: nothing can be learned."""
    labels = np.random.default_rng(0).permutation(data.labels)
    return replace(data, refs=tuple(replace(ref, label=int(label)) for ref, label in zip(data.refs, labels, strict=True)))


def test_digits_are_told_apart_and_labels_without_meaning_are_not(data: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    scores = []
    for name, images in (("real", data), ("shuffled", shuffled(data))):
        (out := tmp_path / name).mkdir()
        found = Probe(data=images, preprocess=weights.preprocess, arch="cifar_resnet16", weights=weights, seed=0, runtime=ONE).run(out)
        assert found.images == len(data)
        scores.append(found.score)
    assert scores[0] >= 0.65 and scores[1] <= 0.25  # chance is 0.1: a head that had seen them would be right on all


def test_the_saved_network_has_the_head_of_all_images(data: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    found = Probe(data=data, preprocess=weights.preprocess, arch="cifar_resnet16", weights=weights, seed=0, runtime=ONE).run(tmp_path)
    x = torch.stack([torch.from_numpy(weights.preprocess(data.read(i))) for i in range(len(data))])
    with torch.no_grad():
        right = load_model(found.checkpoint.path)(x).argmax(1).numpy() == data.labels
    assert right.mean() >= found.score


def test_folds_have_a_mean_and_a_spread_and_the_rarest_class_is_counted(data: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    stage = Crossval(data=data, features=features_file(data, weights, tmp_path), folds=4, seed=0, runtime=ONE)
    found = read_folds(stage.run(tmp_path).folds.path)
    assert len(found.scores) == 4 and found.images == len(data) and found.rarest == np.bincount(data.labels).min()
    assert found.mean == pytest.approx(np.mean(found.scores)) and found.spread == pytest.approx(np.std(found.scores, ddof=1))
    assert found.mean >= 0.65


def test_folds_take_the_features_that_fine_tuning_computed(data: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    parted = replace(data, refs=tuple(replace(ref, part="val" if i % 3 == 1 else "train") for i, ref in enumerate(data.refs)))
    settings = FinetuneSettings(arch="cifar_resnet16", strategy="features", baselines=False)
    (out := tmp_path / "teacher").mkdir()
    teacher = Finetune(data=parted, preprocess=weights.preprocess, settings=settings, weights=weights, runtime=ONE).run(out)
    assert teacher.features is not None
    expected = np.load(features_file(parted, weights, tmp_path).path)
    np.testing.assert_allclose(np.load(teacher.features.path), expected, rtol=1e-4, atol=1e-5)  # batches are of other sizes
    (folds := tmp_path / "folds").mkdir()
    found = Crossval(data=parted, features=teacher.features, folds=4, seed=0, runtime=ONE).run(folds)
    assert read_folds(found.folds.path).mean >= 0.65 and [path.name for path in folds.iterdir()] == ["folds.json"]


def test_a_class_with_fewer_images_than_folds_is_named(data: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    few = replace(data, refs=tuple(ref for i, ref in enumerate(data.refs) if ref.label != 3 or i % 9 == 0))
    stage = Crossval(data=few, folds=15, seed=0, runtime=ONE)
    with pytest.raises(InputError, match=r"expected 15 images of each class in train and val for as many folds, found \d+ of 3"):
        stage.run(tmp_path)
