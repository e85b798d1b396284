"""Frozen features: the outputs of a network without its head, computed once for each image and kept in a file.

Memory is that of one chunk: the file is mapped, and the system keeps of it what there is room for. A run that was killed goes on
at the chunk where it was, with the same bytes. The disk holds a chunk before the record says so; where the machine died all the same
with other bytes in the file (CRC-32), features are computed anew.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.core.files import read_json, write_json
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say, track
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.pixels import to_input
from edgetl.models.heads import split_head
from edgetl.training.device import on_device

CHUNK_VALUES = 3 * 224 * 224 * 32  # numbers in the inputs of one forward pass: the CPU's caches like few
CHECKED_ROWS = 4096  # at a time
Features = NDArray[np.float32]


@torch.no_grad()
def frozen_features(
    body: nn.Module, inputs: Callable[[slice], Tensor], count: int, device: torch.device, file: Path, *, title: str = "features"
) -> Features:
    """What `body` makes of `count` images, float32 [count, d], mapped from `file`.

    Args:
        body: inputs [n, 3, s, s] -> features [n, d]; put on `device`, in evaluation mode.
        inputs: the normalized inputs of a run of images.
        count: images.
        device: where the body runs.
        file: holds the features; beside it `file`.json says how many are done, and their checksum.
        title: of the progress: whose features, of which images.

    Raises:
        InputError: features that are not finite.
    """
    on_device(body, device).eval()
    record = file.with_name(file.name + ".json")
    done, width, checksum = _finished(file, record, count)
    chunk = max(8, min(512, CHUNK_VALUES // max(1, inputs(slice(0, 1)).numel())))
    with track(title, count, "image") as bar:
        bar.advance(done)
        for start in range(done, count, chunk):
            rows = slice(start, min(start + chunk, count))
            found = body(inputs(rows).to(device)).float().cpu().numpy()
            if not np.isfinite(found).all():
                raise InputError(
                    f"expected finite features of the pretrained network, found NaN or infinity for the images {start + 1} to {rows.stop} "
                    f"of {count}. Its weights are too large or damaged: give other weights (--weights; pipeline: --teacher-weights)"
                )
            width = found.shape[1]
            checksum = zlib.crc32(np.ascontiguousarray(found).data, checksum)
            whole = memory_mapped(file, (count, width))
            whole[rows] = found
            whole.flush()
            write_json(record, {"done": rows.stop, "width": width, "crc32": checksum})
            bar.advance(rows.stop - start)
    return memory_mapped(file, (count, width)) if count else np.empty((0, 0), dtype=np.float32)


def _finished(file: Path, record: Path, count: int) -> tuple[int, int, int]:
    """The number of finished images, the width and the checksum; zeros if the file does not match its record."""
    try:
        said = read_json(record) if record.exists() else None
        done, width, checksum = (0, 0, 0) if said is None else (int(said["done"]), int(said["width"]), int(said["crc32"]))
    except (InputError, KeyError, TypeError, ValueError):
        done, width, checksum = -1, 0, 0
    if done > 0 and file.is_file() and file.stat().st_size == 4 * count * width:
        found, rows = 0, memory_mapped(file, (count, width))
        for start in range(0, done, CHECKED_ROWS):
            found = zlib.crc32(np.ascontiguousarray(rows[start : min(start + CHECKED_ROWS, done)]).data, found)
        del rows  # Windows removes no file that is mapped
        if found == checksum:
            return done, width, checksum
    if done:
        say(f"{file.name}: an interrupted run left a damaged file; the features are computed again")
        record.unlink(missing_ok=True)
    file.unlink(missing_ok=True)  # of no record, or of another one: its size need not be the one that is wanted
    return 0, 0, 0


def features_of(model: nn.Module, images: Images, preprocess: Preprocess, device: torch.device, file: Path, *, title: str) -> Features:
    """What enters the head of `model` for the center view of each image, [n, d]; as `frozen_features`."""
    plain = pixel_set(images, preprocess, margin=False)
    body, _ = split_head(model)
    return frozen_features(body, lambda rows: to_input(plain.pixels[rows], preprocess), len(plain), device, file, title=title)


def memory_mapped(file: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    """The file as an array; made, at its full length, of zeros, where it is not there."""
    if not file.exists():
        with file.open("wb") as stream:
            reserve(stream.fileno(), 4 * math.prod(shape))
    return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)


def reserve(file: int, size: int) -> None:
    """Give an open file its length, and where the system can, its room: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)
