"""Laws of the stage distill: each network is given its own Preprocess, and a teacher that cannot be learned from is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.images import Images
from edgetl.data.pixels import to_input
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.checkpoint import read_checkpoint, save_checkpoint
from edgetl.settings import DataSettings, DistillSettings, Runtime
from edgetl.stages.distill import Distill
from edgetl.training.job import TrainingBatch
from edgetl.training.teaching import Taught

HALF = Preprocess(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ONE_THREAD = Runtime(device="cpu", threads=1)
STUDENT = DistillSettings(arch="edge_tiny", image_size=24, epochs=1, augment="none", hard_weight=0.0)


@pytest.fixture(scope="module")
def data() -> Images:
    """Every thirtieth image to train, and some for val."""
    every = open_images(None, DataSettings()).only("train", "val")
    return replace(every, refs=every.refs[::30])


@pytest.fixture
def teacher(data: Images, tmp_path: Path) -> Checkpoint:
    torch.manual_seed(0)
    path, model = tmp_path / "teacher.safetensors", build("cifar_resnet8", len(data.classes), 32)
    save_checkpoint(path, model=model, arch="cifar_resnet8", classes=data.classes, preprocess=HALF, seen=data.seen(), provenance={})
    return Checkpoint.of(path)


class Recorder(nn.Module):
    """Answers nothing in particular, and keeps what it is shown."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes, self.shown = classes, torch.empty(0)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.shown = x
        return self.weight + x.mean(dim=(1, 2, 3))[:, None] * torch.arange(self.classes)


def test_teacher_and_student_each_see_their_own_size_in_their_own_units(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    stage, student_sees = Distill(teacher=teacher, data=data, settings=STUDENT, runtime=ONE_THREAD), HALF.at(24)
    views = stage._views(replace(read_checkpoint(teacher.path), preprocess=HALF), student_sees)
    big, small = Recorder(len(data.classes)), Recorder(len(data.classes))
    teach = stage._teaching(big, views, HALF, tmp_path)
    job = stage._job(Taught(small, None), teach, views, student_sees)
    pixels = views.train.pixels[:4]
    job.loss(small, TrainingBatch(x=to_input(pixels, job.preprocess), labels=views.train.labels[:4], round=0, places=slice(0, 4), seed=0))
    assert torch.allclose(big.shown, (pixels.float() / 255 - 0.5) / 0.5, atol=1e-6)
    expected = nn.functional.interpolate(big.shown, size=(24, 24), mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(small.shown, expected, atol=1e-6)


def test_the_students_file_says_its_own_size_and_its_teachers_units(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    student = Distill(teacher=teacher, data=data, settings=STUDENT, runtime=ONE_THREAD).run(out)
    assert read_checkpoint(student.checkpoint.path).preprocess == HALF.at(24) and HALF.at(24).mean == (0.5, 0.5, 0.5)


def damaged(teacher: Checkpoint, name: str, value: float) -> Checkpoint:
    """The same file, one tensor filled with a value."""
    with safe_open(teacher.path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(teacher.path)
    tensors[name].fill_(value)
    path = teacher.path.with_name("damaged.safetensors")
    save_file(tensors, path, metadata=metadata)
    return Checkpoint.of(path)


@pytest.mark.parametrize("arch", ["edge_tiny", "same", "pruned"])
def test_a_teacher_with_nan_in_its_weights_is_refused_whatever_the_student(
    data: Images, teacher: Checkpoint, tmp_path: Path, arch: str
) -> None:
    (out := tmp_path / "out").mkdir()
    stage = Distill(
        teacher=damaged(teacher, "bn1.bias", float("nan")), data=data, settings=STUDENT.but(arch=arch, image_size=None), runtime=ONE_THREAD
    )
    with pytest.raises(InputError, match=r"expected finite weights in damaged\.safetensors, .*\n  bn1\.bias: 16 NaN of 16 values"):
        stage.run(out)
    assert not list(out.glob("*.safetensors"))


def test_a_teacher_whose_answers_overflow_is_refused(data: Images, teacher: Checkpoint, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    stage = Distill(teacher=damaged(teacher, "fc.weight", 3e38), data=data, settings=STUDENT, runtime=ONE_THREAD)
    with pytest.raises(InputError, match=r"expected finite outputs of the teacher, found .* Its weights are too large or damaged"):
        stage.run(out)
