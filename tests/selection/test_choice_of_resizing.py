"""`--resize` and the depth of 16-bit files reach the Preprocess that everything after derives from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from edgetl.core.errors import InputError, SettingsError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.checkpoint import read_checkpoint, save_checkpoint
from edgetl.pipeline_options import PipelineOptions
from edgetl.selection.choices import for_teacher
from edgetl.settings import DataSettings, FinetuneSettings, PipelineSettings

SMALL = FinetuneSettings(arch="cifar_resnet8", weights="none")


def pictures(root: Path, dtype: type = np.uint8, most: int = 256) -> Images:
    for label, name in enumerate(("ants", "bees")):
        (root / name).mkdir(parents=True)
        for number in range(8):
            values = np.random.default_rng([label, number]).integers(0, most, (40, 44)).astype(dtype)
            Image.fromarray(values).save(root / name / f"{number}.png")
    return open_images(str(root), DataSettings())


def saved(path: Path, preprocess: Preprocess) -> Path:
    network = build("cifar_resnet8", 2, 32)
    seen = SeenImages.of("ab" * 32)
    save_checkpoint(path, model=network, arch="cifar_resnet8", classes=("a", "b"), preprocess=preprocess, seen=seen, provenance={})
    return path


def test_the_option_is_the_teachers_setting() -> None:
    settings = PipelineSettings.from_tables(PipelineOptions(resize="pad").tables())
    assert settings.finetune.resize == "pad" and PipelineSettings.from_tables({}).finetune.resize is None
    with pytest.raises(SettingsError, match=r"resize: .*'crop', 'squash' or 'pad'"):
        PipelineOptions(resize="stretch")


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_the_choice_travels_into_the_preprocess_and_the_checkpoint(tmp_path: Path, fit: Literal["crop", "squash", "pad"]) -> None:
    chosen = for_teacher(pictures(tmp_path / "photos"), SMALL.but(resize=fit), tmp_path)
    assert (chosen.preprocess.fit, chosen.settings.resize, chosen.preprocess.fill) == (fit, fit, 114 if fit == "pad" else None)
    path = saved(tmp_path / "checkpoint.safetensors", chosen.preprocess)
    assert read_checkpoint(path).preprocess == chosen.preprocess
    again = for_teacher(pictures(tmp_path / "others"), SMALL.but(weights=str(path)), tmp_path)
    assert again.preprocess.fit == fit and again.settings.resize == fit  # as the weights have it
    assert (
        for_teacher(
            open_images(str(tmp_path / "others"), DataSettings()), SMALL.but(weights=str(path), resize="crop"), tmp_path
        ).preprocess.fit
        == "crop"
    )


def test_default_and_crop_are_one_choice(tmp_path: Path) -> None:
    images = pictures(tmp_path / "photos")
    assert for_teacher(images, SMALL, tmp_path) == for_teacher(images, SMALL.but(resize="crop"), tmp_path)
    assert "fit" not in json.loads(for_teacher(images, SMALL, tmp_path).preprocess.to_json())


@pytest.mark.parametrize(("most", "bits"), [(4096, 12), (65536, 16)])
def test_the_depth_of_the_set_travels_too(tmp_path: Path, most: int, bits: int) -> None:
    assert for_teacher(pictures(tmp_path / "photos", np.uint16, most), SMALL, tmp_path).preprocess.bits == bits


def test_weights_of_gray_or_rectangular_networks_are_refused_for_training(tmp_path: Path) -> None:
    images = pictures(tmp_path / "photos")
    gray = saved(tmp_path / "gray.safetensors", Preprocess(size=32, resize=32, color="gray", mean=(0.5,), std=(0.5,)))
    with pytest.raises(InputError, match=r"with gray input\. edgetl trains networks with RGB input, also on gray photos"):
        for_teacher(images, SMALL.but(weights=str(gray)), tmp_path)
    wide = saved(tmp_path / "wide.safetensors", Preprocess(size=(32, 64), resize=64))
    with pytest.raises(InputError, match=r"expected a square input, found 32 x 64 pixels"):
        for_teacher(images, SMALL.but(weights=str(wide)), tmp_path)
