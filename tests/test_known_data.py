"""Images that the pretrained weights have seen are refused as judges, whichever way they come back."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from edgetl.core.errors import InputError
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.checkpoint import save_checkpoint
from edgetl.models.weights import Weights, resolve_weights
from edgetl.selection.choices import refuse_known_data
from edgetl.settings import DataSettings


@pytest.fixture(scope="module")
def cifar(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 12 training and 6 test images of each class, as unzipped folders."""
    root = tmp_path_factory.mktemp("cifar")
    for part, count in (("train", 12), ("test", 6)):
        with zipfile.ZipFile(shared / "data" / f"cifar10_{part}.zip") as archive:
            taken: dict[str, int] = {}
            for name in sorted(archive.namelist()):
                folder = name.rpartition("/")[0]
                if name.endswith(".jpg") and taken.setdefault(folder, 0) < count:
                    taken[folder] += 1
                    archive.extract(name, root)
    return root


def embedded(tmp_path: Path) -> Weights:
    weights, _ = resolve_weights("cifar_resnet16", "auto", tmp_path)
    assert weights is not None
    return weights


def test_cifar10_as_folders_is_refused_for_weights_trained_on_it_unless_asked_for(cifar: Path, tmp_path: Path) -> None:
    images, weights = open_images(str(cifar), DataSettings()), embedded(tmp_path)
    assert images.origin == "cifar10" and images.counts()["test"] == 60
    with pytest.raises(InputError, match=r"found cifar10, which embedded:cifar_resnet16_cifar10 was trained on"):
        refuse_known_data(images, weights, False)
    refuse_known_data(images, weights, True)
    refuse_known_data(images, None, False)


def checkpoint(path: Path, images: Images) -> Weights:
    """A network that edgetl trained on the train part of `images`, taken as a file of weights."""
    from edgetl.core.preprocess import imagenet

    network = build("cifar_resnet8", len(images.classes), 32)
    save_checkpoint(
        path,
        model=network,
        arch="cifar_resnet8",
        classes=images.classes,
        preprocess=imagenet(32, 36),
        seen=images.seen(),
        provenance={"data": images.name},
    )
    weights, _ = resolve_weights("cifar_resnet8", str(path), path.parent)
    assert weights is not None
    return weights


def test_a_checkpoint_of_edgetl_as_weights_brings_its_preprocess_classes_and_record(cifar: Path, tmp_path: Path) -> None:
    images = open_images(str(cifar / "train"), DataSettings())
    weights = checkpoint(tmp_path / "w.safetensors", images)
    assert weights.preprocess is not None and (weights.preprocess.size, weights.preprocess.resize) == (32, 36)
    assert weights.classes == images.classes and weights.seen == images.seen()


def test_another_split_of_the_same_photos_is_refused_and_the_same_split_is_not(cifar: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar / "train", tmp_path / "photos")
    images = open_images(str(tmp_path / "photos"), DataSettings(seed=0))
    weights = checkpoint(tmp_path / "w.safetensors", images)
    refuse_known_data(images, weights, False)
    other = open_images(str(tmp_path / "photos"), DataSettings(seed=1))
    seen = set(images.only("train", "val").hashes)
    spoiled = {ref.where for ref in other.refs if ref.part == "test" and ref.sha256 in seen}
    spoiled |= {ref.where for ref in other.refs if ref.part == "val" and ref.sha256 in set(images.only("train").hashes)}
    with pytest.raises(InputError, match=rf"found {len(spoiled)} that file:w.safetensors was trained or selected on:") as error:
        refuse_known_data(other, weights, False)
    assert spoiled and all(line.strip().rpartition(" ")[0] in spoiled for line in str(error.value).splitlines()[1:9])
    refuse_known_data(other, weights, True)


def test_the_record_of_the_weights_stays_with_what_is_trained_from_them(cifar: Path) -> None:
    images = open_images(str(cifar / "train"), DataSettings(seed=0))
    other = open_images(str(cifar / "train"), DataSettings(seed=1))
    both = other.seen().beside(images.seen())
    assert both.split == other.digest and other.seen().beside(None) == other.seen()
    for ref in images.only("train").refs:
        assert both.part_of(ref.sha256) is not None
