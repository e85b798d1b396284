"""A folder that is a copy of a published data set is recognized; one that only resembles it is not."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from edgetl.data.known import CIFAR10_CLASSES, known_origin


def png(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("classes", "side", "expected"),
    [
        (sorted(CIFAR10_CLASSES), 32, "cifar10"),
        ([label.upper() for label in CIFAR10_CLASSES], 32, "cifar10"),
        (sorted(CIFAR10_CLASSES), 96, None),  # STL-10 has other images of such classes
        (sorted(CIFAR10_CLASSES)[:9], 32, None),
        (["n01440764", "n02102040"], 160, "imagenet1k"),
        (["n01440764", "tench"], 160, None),
        (["ants", "bees"], 32, None),
    ],
)
def test_known_origin(classes: list[str], side: int, expected: str | None) -> None:
    assert known_origin(classes, png(side)) == expected
