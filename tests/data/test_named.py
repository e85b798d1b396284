"""CIFAR-10 by name, through torchvision's own reader, on a small set in its file format."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl.core.errors import InputError
from edgetl.core.imagefile import decode
from edgetl.data.named import ppm, unrepeated
from edgetl.data.sources import open_images
from edgetl.data.splits import Hashed
from edgetl.settings import DataSettings

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in CIFAR-10's format: 200 training and 50 test images, with md5 sums to match."""
    cifar = pytest.importorskip("torchvision.datasets").CIFAR10
    folder, rng = tmp_path / cifar.base_folder, np.random.default_rng(0)
    folder.mkdir()

    def write(name: str, content: dict[str, Any]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str, count: int) -> list[str]:
        labels = [i % 10 for i in range(count)]
        return write(name, {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": labels})

    monkeypatch.setattr(cifar, "train_list", [batch("data_batch_1", 200)])
    monkeypatch.setattr(cifar, "test_list", [batch("test_batch", 50)])
    name, md5 = write("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(cifar, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path


def test_cifar10_from_disk_keeps_its_test_part_and_folds_train(root: Path) -> None:
    images = open_images("cifar10", DataSettings(), root=root)
    assert images.counts()["test"] == 50 and images.counts()["train"] + images.counts()["val"] == 200 and images.counts()["val"] >= 10
    assert (images.name, images.origin, images.flip, list(images.classes)) == ("cifar10", "cifar10", True, CLASSES)
    raw = pickle.loads((root / "cifar-10-batches-py" / "test_batch").read_bytes())
    for index, ref in enumerate(images.refs):
        if ref.part == "test":
            number = int(Path(ref.where).stem)
            assert np.array_equal(np.asarray(decode(images.read(index))), raw["data"][number].reshape(3, 32, 32).transpose(1, 2, 0))
            assert ref.label == raw["labels"][number]
            assert hashlib.sha256(images.read(index)).hexdigest() == ref.sha256


def test_neither_on_disk_nor_to_be_downloaded_is_one_error(tmp_path: Path, told: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"expected CIFAR-10 in .*file, found none, and the download failed: (.|\n)*the folder that contains it with --root",
    ):
        open_images("cifar10", DataSettings(), root=tmp_path / "file")
    assert f"cifar10: not in {tmp_path / 'file'}; downloads 170 MB" in told.lines


def test_a_ppm_decodes_to_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(decode(ppm(pixels))), pixels)


def test_repetitions_stay_in_test_only_and_two_labels_go(told: Any) -> None:
    def row(where: str, label: str, part: str, sha: str) -> Hashed:
        return Hashed(where=where, label=label, part=part, sha256=sha)  # type: ignore[arg-type]

    rows = [
        row("1", "a", "train", "s"),
        row("2", "a", "test", "s"),
        row("3", "a", "train", "t"),
        row("4", "b", "train", "t"),
        row("5", "b", "test", "u"),
    ]
    assert [image.where for image in unrepeated(rows)] == ["2", "5"]
    assert "data: left out 3 repeated images" in told.lines
