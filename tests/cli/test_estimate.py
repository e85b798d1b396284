"""What is told before long work: students that cannot be had are refused, a GPU is waited for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgetl.cli.estimate import BESIDE, estimate, forward_flops, planned_student, teacher_seconds, trials
from edgetl.cli.pace import Pace, pace
from edgetl.cli.pipeline import Request, run_pipeline
from edgetl.core.artifacts import Checkpoint
from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.checkpoint import save_checkpoint
from edgetl.selection.choices import for_student
from edgetl.selection.job import prepare
from edgetl.selection.under_budget import SHORTER
from edgetl.settings import CrossvalSettings, DataSettings, DistillSettings, FinetuneSettings, PipelineSettings, Runtime, SearchSettings
from edgetl.stages.finetune import Teacher
from edgetl.training.device import synchronize
from edgetl.workflow import screened, sought

from ..conftest import Told

NOWHERE = Path("nothing is downloaded")


def test_a_student_that_cannot_be_had_is_refused_before_the_teacher_learns(tmp_path: Path) -> None:
    settings = PipelineSettings(distill=DistillSettings(arch="pruned", keep=1e-5))
    with pytest.raises(InputError, match=r"found cifar_resnet16: its layers are too narrow to leave .* Use --student same"):
        run_pipeline(Request(data=None, root=NOWHERE, runtime=Runtime(device="cpu", threads=1)), tmp_path, settings)
    assert not list((tmp_path / "stages").glob("finetune-*"))


def blobs(folder: Path, name: str, seed: int) -> None:
    """A picture unlike others."""
    folder.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{name}.png")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("auto", r"expected 3 images of each class in train and val for as many folds, found 2 of rare"),
        ("none", r"expected pretrained weights for --folds, which judges frozen features, found none"),
    ],
)
def test_folds_that_cannot_be_had_are_refused_before_the_teacher_learns(weights: str, words: str, tmp_path: Path) -> None:
    for part, counts in {"train": (6, 1), "val": (3, 1), "test": (3, 1)}.items():
        for name, count in zip(("often", "rare"), counts, strict=True):
            for i in range(count):
                blobs(tmp_path / "pictures" / part / name, str(i), sum(map(ord, part + name)) + 1000 * i)
    settings = PipelineSettings(crossval=CrossvalSettings(folds=3), finetune=FinetuneSettings(weights=weights))
    request = Request(data=str(tmp_path / "pictures"), root=NOWHERE, runtime=Runtime(device="cpu", threads=1))
    with pytest.raises(InputError, match=words):
        run_pipeline(request, tmp_path / "run", settings)
    assert not list((tmp_path / "run" / "stages").glob("finetune-*"))


def test_photos_without_labels_count_in_the_epochs_that_are_planned_and_in_those_of_trials(tmp_path: Path) -> None:
    """The student has fewer epochs of more images; announced and tried were as many as of the labelled images alone."""
    digits = open_images(None, DataSettings())
    few, others = replace(digits, refs=digits.refs[::9]), replace(digits.only("train"), refs=digits.only("train").refs[1:900])
    wanted = PipelineSettings(search=SearchSettings(max_kb=100), distill=DistillSettings(arch="edge_small"))
    job = prepare(few, wanted, Runtime(device="cpu", threads=1), NOWHERE, unlabelled=others)
    epochs = job.student.settings.epochs_for(few.counts()["train"] + len(others))
    assert epochs == 18 and job.student.settings.epochs_for(few.counts()["train"]) == 100
    assert estimate(job, tmp_path).plan.endswith(f"the best of 1 tried, {epochs} epochs")
    distilled: list[Any] = []

    def do(stage: Any) -> Any:
        distilled.append(stage)
        raise InterruptedError

    save_checkpoint(
        path := tmp_path / "teacher.safetensors",
        model=build("cifar_resnet8", 10, 32),
        arch="cifar_resnet8",
        classes=few.classes,
        preprocess=imagenet(32),
        seen=few.only("train", "val").seen(),
        provenance={},
    )
    with pytest.raises(InterruptedError):
        sought(job, Teacher(checkpoint=Checkpoint.of(path), val_score=0.5, best_epoch=1), screened(job, do), do)
    assert distilled[0].settings.epochs == round(epochs / SHORTER)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (SearchSettings(max_kb=330), "student the best of 3 tried, 9 epochs"),
        (SearchSettings(max_kb=150), "student the best of 1 tried, 9 epochs"),  # three were announced, and their time
        (SearchSettings(max_ms=2), "student the best of up to 3 tried (of smaller ones if none is fast enough), 9 epochs"),
        (SearchSettings(), "student efficientnet_lite0_early, 9 epochs"),
    ],
)
def test_as_many_trials_are_announced_as_there_are(budget: SearchSettings, words: str) -> None:
    digits, wanted = open_images(None, DataSettings()), FinetuneSettings(arch="efficientnet_lite0", image_size=96)
    job = prepare(digits, PipelineSettings(search=budget, finetune=wanted), Runtime(device="cpu", threads=1), NOWHERE)
    assert planned_student(job, 9) == words and len(trials(job)) == (int(words.partition(" tried")[0][-1]) if budget.wanted else 0)


def test_what_is_sought_is_announced_with_the_epochs_that_it_will_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,113 photos, 60 epochs of the early network, where the student that has no budget would have 20."""
    digits, wanted = open_images(None, DataSettings()), FinetuneSettings(arch="efficientnet_lite0", image_size=96)
    monkeypatch.setattr(Images, "median_side", 300)
    job = prepare(digits, PipelineSettings(search=SearchSettings(max_kb=150), finetune=wanted), Runtime(device="cpu", threads=1), NOWHERE)
    assert job.student.settings.epochs_for(1113) == 20
    assert estimate(job, tmp_path).plan.endswith("the best of 1 tried, 60 epochs")


def test_distill_alone_refuses_a_student_that_cannot_be_had_before_it_reads_an_image(tmp_path: Path) -> None:
    from edgetl.cli.stages import distill

    images, teacher = open_images(None, DataSettings()), tmp_path / "teacher.safetensors"
    save_checkpoint(
        teacher,
        model=build("cifar_resnet8", 10, 32),
        arch="cifar_resnet8",
        classes=images.classes,
        preprocess=imagenet(32),
        seen=images.only("train", "val").seen(),
        provenance={},
    )
    told = Told()
    with (
        listening(told),
        Workspace(tmp_path / "w") as do,
        pytest.raises(InputError, match=r"found cifar_resnet8: its layers are too narrow to leave"),
    ):
        distill(images, teacher, DistillSettings(arch="pruned", keep=1e-5), do, Runtime(device="cpu", threads=1))
    assert told.titles == ["try pruning cifar_resnet8"]


def test_teachers_of_timm_are_guarded_as_those_of_torchvision() -> None:
    images = open_images(None, DataSettings()).only("train", "val")
    for name in ("vit_b_16", "timm:vit_small_patch16_224"):
        assert for_student(images, DistillSettings(), name, 224, NOWHERE).settings.arch == "edge_medium"
        with pytest.raises(InputError, match=f"expected a teacher that can be pruned, found {name}"):
            for_student(images, DistillSettings(arch="pruned"), name, 224, NOWHERE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_quicker_by_the_estimate_than_by_a_clock_that_waits() -> None:
    """Matrix products of the same kind, many in a row, waited for once: no probe of small ones can be above twice their speed."""
    device = torch.device("cuda")
    a = torch.randn(8192, 8192, device=device)
    torch.matmul(a, a)
    synchronize(device)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(10):
        torch.matmul(a, a)
    end.record()
    synchronize(device)
    speed = 10 * 2 * 8192**3 / (begin.elapsed_time(end) / 1000)
    assert forward_flops("resnet18", 10, 224) / pace("resnet18", 10, 224, device).answers < 2 * speed


@pytest.mark.parametrize(("arch", "size"), [("cifar_resnet8", 32), ("efficientnet_lite0_early", 160), ("edge_tiny", 200)])
def test_every_pass_takes_its_time(arch: str, size: int) -> None:
    """What is waited for is the work: networks of any kind and size have a pace, with and without blocks that do not learn."""
    for frozen in (0, 2):
        found = pace(arch, 3, size, torch.device("cpu"), frozen=frozen)
        assert min(found.features, found.answers, found.step) > 0


def test_operations_are_those_of_the_layers() -> None:
    """He et al. 2016, table 1: ResNet-18 has 1.8 G multiply-adds at 224 px; two operations each."""
    assert forward_flops("resnet18", 1000, 224) == pytest.approx(2 * 1.82e9, rel=0.01)
    assert forward_flops("resnet18", 1000, 448) == pytest.approx(4 * forward_flops("resnet18", 1000, 224), rel=0.02)


def test_the_estimate_counts_what_learns() -> None:
    """In seconds of a forward pass, which here takes one: the head's features, and with them a quarter for the network from scratch."""
    found = Pace(features=1.0, answers=0.5, step=3.0)

    def seconds(images: int = 211, *, pretrained: bool = True, **settings: Any) -> tuple[float, float, str]:
        return teacher_seconds(FinetuneSettings(**settings), images, found, 0.5, pretrained=pretrained)

    least, most, words = seconds(strategy="features", head_views=2, flip=False)
    assert (least, most, words) == (pytest.approx(211 * 2 * 5 / 4), least, "only the head is trained")
    least, most, words = seconds(epochs=12, flip=True)
    assert (least, most, words) == (pytest.approx(422 * 5 / 4), pytest.approx((422 + BESIDE * 12 * 211 * 3.5) * 5 / 4), "up to 12 epochs")
    assert seconds(strategy="features", head_views=2)[0] == pytest.approx(3 * 211 * 5 / 4)  # each photo once more, mirrored
    assert seconds(2400, strategy="features", head_views=2)[0] == pytest.approx((4800 + 240) * 5 / 4)
    assert seconds(epochs=3, pretrained=False) == (pytest.approx(BESIDE * 3 * 211 * 3.5), pytest.approx(BESIDE * 3 * 211 * 3.5), "3 epochs")
