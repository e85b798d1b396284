"""Data sets by name: CIFAR-10 through torchvision, from disk or downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.progress import say, track
from edgetl.data.digits import MemorySource
from edgetl.data.files import refuse
from edgetl.data.images import Images, Part
from edgetl.data.splits import Hashed, assign
from edgetl.settings import DataSettings


def cifar10_images(settings: DataSettings, root: Path) -> Images:
    """CIFAR-10 (Krizhevsky 2009): torchvision's test part judges, a fold of its train part is val.

    Raises:
        InputError: the data is not below `root` and cannot be downloaded.
    """
    train, test = load_cifar10(root, train=True), load_cifar10(root, train=False)
    classes = tuple(sorted(train.classes))
    files: dict[str, bytes] = {}
    hashed: list[Hashed] = []
    sets: tuple[tuple[Part, Any], ...] = (("train", train), ("test", test))
    with track("read cifar10", total=len(train.data) + len(test.data), unit="image") as bar:
        for part, data in sets:
            for number, (pixels, target) in enumerate(zip(data.data, data.targets, strict=True)):
                where = f"{part}/{number:05d}.ppm"
                files[where] = ppm(pixels)
                sha256 = hashlib.sha256(files[where]).hexdigest()
                hashed.append(Hashed(where=where, label=data.classes[target], part=part, sha256=sha256))
                bar.advance()
    refs, problems = assign(unrepeated(hashed), classes, settings)
    refuse("cifar10", problems)
    return Images(name="cifar10", classes=classes, refs=refs, source=MemorySource(files=files), origin="cifar10")


def load_cifar10(root: Path, *, train: bool) -> Any:
    """The CIFAR10 of torchvision from `root`, downloaded if it is not there.

    Raises:
        InputError: it is neither there nor can it be downloaded.
    """
    from torchvision.datasets import CIFAR10

    with contextlib.suppress(RuntimeError, OSError):
        return CIFAR10(str(root), train=train, download=False)
    say(f"cifar10: not in {root}; downloads 170 MB")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return CIFAR10(str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"expected CIFAR-10 in {root}, found none, and the download failed: {error}\n"
            f"Download cifar-10-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) and unpack it in {root}, "
            "or give the folder that contains it with --root"
        ) from error


def ppm(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 [height, width, 3] -> the bytes of a binary PPM file, the same with every encoder."""
    height, width, _ = pixels.shape
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def unrepeated(images: Iterable[Hashed]) -> list[Hashed]:
    """Without repetitions: a published set cannot be mended, so copies stay in test only, and what has two labels goes."""
    best: dict[str, Hashed] = {}
    labels: dict[str, set[str]] = {}
    count = 0
    for image in images:
        count += 1
        labels.setdefault(image.sha256, set()).add(image.label)
        if image.sha256 not in best or (image.part == "test" and best[image.sha256].part != "test"):
            best[image.sha256] = image
    kept = [image for sha, image in best.items() if len(labels[sha]) == 1]
    if len(kept) < count:
        say(f"data: left out {count - len(kept)} repeated images")
    return kept
