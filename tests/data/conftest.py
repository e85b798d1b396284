"""Small real image files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def image_bytes(name: str, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """An image whose content follows from `name`."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def image() -> Callable[..., bytes]:
    return image_bytes


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes images into folders, so many each, and returns the root: `photos({"ants": 8, "train/bees": 3})`."""

    def write(folders: dict[str, int], root: str = "photos", first: int = 0) -> Path:
        for folder, count in folders.items():
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(first, first + count):
                (tmp_path / root / folder / f"{number:03d}.png").write_bytes(image_bytes(f"{folder}/{number}"))
        return tmp_path / root

    return write
