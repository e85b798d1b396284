"""30 scenes of 6 frames whose labels are thrown: out of fold means scenes that were not seen, so it says chance, as fresh scenes do."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from edgetl.core.errors import InputError
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import load_model
from edgetl.models.weights import Weights
from edgetl.report.baselines import read_baselines
from edgetl.report.folds import read_folds
from edgetl.settings import DataSettings, FinetuneSettings, Runtime
from edgetl.stages.finetune import Finetune
from edgetl.stages.folds import Crossval
from edgetl.stages.probe import Probe
from edgetl.training.finetuning import Finetuning
from edgetl.training.fit import standard_error

from .conftest import features_file

SCENES, FRAMES, SIDE = 30, 6, 48
ONE = Runtime(device="cpu", threads=1)


def frames(seed: int) -> list[bytes]:
    """A random texture, seen FRAMES times: the camera moves by up to a pixel and a half of 48, and the noise is new."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIDE + 3, SIDE + 3, 3))
    for grain in (3, 6, 12, 24):
        noise = Image.fromarray(rng.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((SIDE + 3, SIDE + 3), Image.Resampling.BICUBIC), dtype=np.float64) / grain**0.7
    scene = np.asarray(
        Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.5))
    )
    found = []
    for _ in range(FRAMES):
        y, x = rng.integers(0, 4, 2)
        pixels = scene[y : y + SIDE, x : x + SIDE] + rng.normal(0, 4, (SIDE, SIDE, 3))
        stream = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Images:
    root = tmp_path_factory.mktemp("bursts")
    for scene in range(SCENES):
        (folder := root / "ab"[scene % 2]).mkdir(exist_ok=True)
        for number, data in enumerate(frames(scene)):
            (folder / f"{scene}-{number}.png").write_bytes(data)
    return open_images(str(root), DataSettings())


def thrown(images: Images, seed: int) -> Images:
    """All images as train, a label thrown for each scene."""
    label = np.random.default_rng(seed).permutation(np.arange(SCENES) % 2)
    refs = [replace(ref, label=int(label[int(Path(ref.where).stem.split("-")[0])]), part="train") for ref in images.refs]
    return replace(images, refs=tuple(sorted(refs, key=lambda ref: ref.sha256)))


def blind(images: Images) -> Images:
    return replace(images, refs=tuple(replace(ref, group="") for ref in images.refs))


def probed(images: Images, weights: Weights, out: Path) -> Any:
    out.mkdir()
    assert weights.preprocess is not None
    return Probe(data=images, preprocess=weights.preprocess, arch="cifar_resnet16", weights=weights, seed=0, runtime=ONE).run(out)


def test_each_burst_is_one_group(bursts: Images) -> None:
    scene = [int(Path(ref.where).stem.split("-")[0]) for ref in bursts.refs]
    assert len(bursts) == SCENES * FRAMES and len(set(zip(scene, bursts.groups.tolist(), strict=True))) == SCENES


def test_out_of_fold_says_chance_where_the_folds_without_groups_were_sure(bursts: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    x = np.stack([weights.preprocess(frame) for seed in range(SCENES) for frame in frames(1000 + seed)])
    told, fresh = [], []
    for seed in range(6):
        images = thrown(bursts, seed)
        found = probed(images, weights, tmp_path / f"grouped {seed}")
        told.append(found.score)
        truth = np.random.default_rng(100 + seed).permutation(np.arange(SCENES) % 2).repeat(FRAMES)
        with torch.no_grad():
            answers = load_model(found.checkpoint.path)(torch.from_numpy(x)).argmax(1).numpy()
        fresh.append((answers == truth).mean())
        assert found.standard_error > 0.08  # of 30 scenes; of 180 photos it would be 0.037
    assert abs(np.mean(fresh) - 0.5) < 0.12 and abs(np.mean(told) - np.mean(fresh)) < 0.15
    assert probed(blind(images), weights, tmp_path / "blind").score > 0.9


def test_cross_validation_and_the_choice_of_strategy_say_so_too(bursts: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    scores: dict[str, list[float]] = {"grouped": [], "blind": []}
    for seed in range(4):
        for name, images in (("grouped", thrown(bursts, seed)), ("blind", blind(thrown(bursts, seed)))):
            (out := tmp_path / f"{name} {seed}").mkdir()
            stage = Crossval(data=images, features=features_file(images, weights, out), folds=5, seed=0, runtime=ONE)
            scores[name].append(read_folds(stage.run(out).folds.path).mean)
    assert np.mean(scores["blind"]) > 0.9 and abs(np.mean(scores["grouped"]) - 0.5) < 0.15
    settings = FinetuneSettings(arch="cifar_resnet16", augment="none")
    sure = []
    for seed in range(4):
        images = thrown(bursts, seed)
        val = set(np.unique(images.groups)[: SCENES // 5].tolist())
        refs = tuple(replace(ref, part="val" if group in val else "train") for ref, group in zip(images.refs, images.groups, strict=True))
        parted = replace(images, refs=tuple(sorted(refs, key=lambda ref: (ref.part, ref.sha256))))
        (out := tmp_path / f"teacher {seed}").mkdir()
        work = Finetuning(
            data=parted,
            preprocess=weights.preprocess,
            settings=settings,
            weights=weights,
            runtime=ONE,
            out=out,
            device=torch.device("cpu"),
        )
        seen = work._seen(*(fitted := work._fit_head())[::2])
        assert fitted and seen.worth is not None and seen.worth <= SCENES // 5 < seen.val
        sure.append(seen.score)
    assert abs(np.mean(sure) - 0.5) < 0.15


def test_the_errors_beside_the_teacher_are_those_of_scenes(bursts: Images, weights: Weights, tmp_path: Path) -> None:
    """Six scenes of six frames on val: 36 photos would give about 8 points, six about 16."""
    assert weights.preprocess is not None
    val = set(np.unique(bursts.groups)[: SCENES // 5].tolist())
    refs = [replace(ref, part="val" if group in val else "train") for ref, group in zip(bursts.refs, bursts.groups, strict=True)]
    settings = FinetuneSettings(arch="cifar_resnet16", strategy="features", augment="none")
    found = {}
    for name, data in (("scenes", bursts), ("photos", blind(bursts))):
        parted = replace(data, refs=tuple(replace(ref, group=one.group) for ref, one in zip(refs, data.refs, strict=True)))
        parted = replace(parted, refs=tuple(sorted(parted.refs, key=lambda ref: (ref.part, ref.sha256))))
        (out := tmp_path / name).mkdir()
        stage = Finetune(data=parted, preprocess=weights.preprocess, settings=settings, weights=weights, runtime=ONE)
        teacher = stage.run(out)
        assert teacher.baselines is not None
        found[name] = read_baselines(teacher.baselines.path)
    for name, worth in (("scenes", SCENES // 5), ("photos", SCENES // 5 * FRAMES)):
        assert found[name].images == SCENES // 5 * FRAMES and found[name].from_scratch is not None
        for row in (found[name].teacher, found[name].linear_probe, found[name].from_scratch):
            assert row is not None and row.standard_error == pytest.approx(standard_error(row.score, worth))


def test_a_class_with_fewer_scenes_than_folds_is_refused(bursts: Images, weights: Weights, tmp_path: Path) -> None:
    assert weights.preprocess is not None
    some = replace(bursts, refs=tuple(ref for ref in bursts.refs if ref.label or int(Path(ref.where).stem.split("-")[0]) < 6))
    stage = Crossval(data=some, folds=5, seed=0, runtime=ONE)
    with pytest.raises(
        InputError, match=r"expected 5 images that do not look alike of each class .* found 3 such groups among the 18 images"
    ):
        stage.run(tmp_path)
