"""Whether a mirrored photo keeps its label: glyphs that mirror into each other, shapes that do not, and how often chance decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from edgetl.core.preprocess import Preprocess
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import load_model, read_checkpoint
from edgetl.models.weights import Weights
from edgetl.report.baselines import read_baselines
from edgetl.settings import DataSettings, DistillSettings, FinetuneSettings, Runtime
from edgetl.stages.distill import Distill
from edgetl.stages.finetune import Finetune, Teacher
from edgetl.training.fit import network_outputs
from edgetl.training.mirror import ALPHA, FLIP, MOST_IMAGES, by_chance, looked_at, mirror_decision, tail

from ..conftest import Told

SIZE = Preprocess(size=32, resize=32)
ONE_THREAD = Runtime(device="cpu", threads=1)
SETTINGS = FinetuneSettings(arch="cifar_resnet16", image_size=32, strategy="features")
LETTERS, SHAPES = ("b", "d", "p", "q"), ("bar", "cross", "ring")


def drawn(kind: str, rng: np.random.Generator) -> Image.Image:
    """A glyph or a symmetric shape with noise, turned and moved a little, 32 x 32."""
    image, ink = Image.new("L", (128, 128), 200), int(rng.integers(0, 70))
    pen, wide = ImageDraw.Draw(image), int(rng.integers(8, 13))
    match kind:
        case "ring":
            pen.ellipse([34, 34, 94, 94], outline=ink, width=wide)
        case "bar" | "cross":
            pen.line([(64, 24), (64, 104)], fill=ink, width=wide)
            if kind == "cross":
                pen.line([(24, 64), (104, 64)], fill=ink, width=wide)
        case _:
            pen.line([(42, 20), (42, 108)], fill=ink, width=wide)
            pen.ellipse([42, 57, 93, 108], outline=ink, width=wide)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if kind in "dq" else image
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if kind in "pq" else image
    moved = image.rotate(rng.uniform(-12, 12), translate=tuple(rng.uniform(-10, 10, 2)), fillcolor=200, resample=Image.Resampling.BILINEAR)
    gray = np.asarray(moved.resize((32, 32)), dtype=np.float64) + rng.normal(0, 20, (32, 32))
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8))


def folder(root: Path, kinds: tuple[str, ...], count: int = 48) -> Images:
    rng = np.random.default_rng(0)
    for kind in kinds:
        (root / kind).mkdir(parents=True)
        for number in range(count):
            drawn(kind, rng).save(root / kind / f"{number:03d}.png")
    return open_images(str(root), DataSettings())


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return folder(tmp_path_factory.mktemp("letters") / "letters", LETTERS)


def taught(data: Images, weights: Weights | None, out: Path, settings: FinetuneSettings = SETTINGS) -> Teacher:
    out.mkdir()
    return Finetune(data=data.only("train", "val"), preprocess=SIZE, settings=settings, weights=weights, runtime=ONE_THREAD).run(out)


def right(made: Teacher, data: Images) -> float:
    """The share of test images that a teacher is right on."""
    fresh = pixel_set(data.only("test"), SIZE, margin=False)
    outputs = network_outputs(load_model(made.checkpoint.path), fresh, SIZE, torch.device("cpu"))
    return float((outputs.argmax(1) == fresh.labels).float().mean())


def test_letters_that_mirror_into_each_other_are_not_mirrored_and_stay_apart(
    letters: Images, weights: Weights, tmp_path: Path, told: Told
) -> None:
    made = taught(letters, weights, tmp_path / "photos tell")
    said = next(line for line in told.lines if line.startswith("finetune: random horizontal flips off: of "))
    assert "a linear head takes" in said and "when they are mirrored" in said
    assert read_checkpoint(made.checkpoint.path).provenance[FLIP] == "no"
    assert made.baselines is not None and read_baselines(made.baselines.path).mirroring == said.removeprefix("finetune: ")
    asked = taught(letters, weights, tmp_path / "off", SETTINGS.but(flip=False))
    wrong = taught(letters, weights, tmp_path / "on", SETTINGS.but(flip=True))
    assert right(made, letters) == right(asked, letters) > right(wrong, letters) + 0.03
    assert not (tmp_path / "off" / "scratch" / "features-mirrored").exists()


def test_a_student_mirrors_as_its_teacher_did_unless_it_is_told(letters: Images, weights: Weights, tmp_path: Path) -> None:
    teacher = taught(letters, weights, tmp_path / "teacher", SETTINGS.but(baselines=False))
    info = read_checkpoint(teacher.checkpoint.path)
    for asked, mirrored in ((None, False), (True, True), (False, False)):
        stage = Distill(
            teacher=teacher.checkpoint, data=letters.only("train", "val"), settings=DistillSettings(arch="edge_tiny", flip=asked)
        )
        assert stage._views(info, SIZE).augment.flip is mirrored


def test_shapes_that_mirror_into_themselves_are_mirrored(weights: Weights, tmp_path: Path) -> None:
    made = taught(folder(tmp_path / "shapes", SHAPES, 30), weights, tmp_path / "out", SETTINGS.but(baselines=False))
    assert read_checkpoint(made.checkpoint.path).provenance[FLIP] == "yes"


def test_without_pretrained_weights_it_is_said_what_is_assumed(letters: Images, tmp_path: Path, told: Told) -> None:
    settings = FinetuneSettings(arch="cifar_resnet8", image_size=32, epochs=1, weights="none")
    made = taught(letters, None, tmp_path / "out", settings)
    assert "finetune: random horizontal flips on: the default, because a test needs pretrained weights" in told.lines
    assert read_checkpoint(made.checkpoint.path).provenance[FLIP] == "yes"


def test_of_each_class_as_many_images_as_can_be_are_looked_at() -> None:
    labels = np.array([0] * 2000 + [1] * 300 + [2] * 7)
    chosen = looked_at(labels, 0)
    counts = np.bincount(labels[chosen])
    assert len(chosen) == len(set(chosen)) == MOST_IMAGES and counts[2] == 7 and abs(int(counts[0]) - int(counts[1])) <= 1


def test_of_a_burst_one_frame_is_looked_at() -> None:
    labels, groups = np.repeat([0, 1], 90), np.repeat(np.arange(30), 6)
    chosen = looked_at(labels, 0, groups)
    assert sorted(groups[chosen]) == list(range(30)) and np.bincount(labels[chosen]).tolist() == [15, 15]
    assert set(chosen % 6) != {0}  # any of them


@pytest.mark.parametrize(("count", "of", "share"), [(0, 0, 0.5), (0, 9, 0.5), (7, 9, 0.5), (150, 200, 0.7)])
def test_tails_are_those_of_the_binomial(count: int, of: int, share: float) -> None:
    wanted = binomtest(count, of, share, alternative="greater").pvalue if of else 1.0
    assert tail(count, of, share) == pytest.approx(wanted, rel=1e-9)


def test_only_answers_that_differ_count() -> None:
    before, after = np.array([1, 1, 1, 1, 0, 0], dtype=bool), np.array([1, 0, 0, 0, 1, 0], dtype=bool)
    assert by_chance(before, after) == pytest.approx(binomtest(3, 4, 0.5, alternative="greater").pvalue)


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_where_mirroring_makes_no_difference_it_is_seldom_taken_away(classes: int) -> None:
    """Photos and mirror images are right equally often, independently of each other: two tests at ALPHA, so at most twice that."""
    rng, repetitions, off = np.random.default_rng(classes), 2000, 0
    labels = np.arange(MOST_IMAGES) % classes
    for _ in range(repetitions):
        answers, reflected = (np.where(rng.random(MOST_IMAGES) < 0.8, labels, rng.integers(0, classes, MOST_IMAGES)) for _ in range(2))
        off += not mirror_decision(answers, reflected, labels, tuple(map(str, range(classes)))).keeps
    assert off / repetitions <= 2 * ALPHA + 3 * (2 * ALPHA / repetitions) ** 0.5
