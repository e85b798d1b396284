"""The format of .npz files, piece by piece: headers, numbers, labels, and what is refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess_rules import MOST_CHANNELS

PIECE_BYTES = 1 << 18  # zipfile joins what one read returns byte by byte: small reads keep that linear


def name_of_inputs(path: Path, names: Sequence[str]) -> str:
    """The array that holds the inputs: `x`, or the only one beside `y`.

    Raises:
        InputError: none of them can be.
    """
    if "x" in names:
        return "x"
    candidates = [name for name in names if name != "y"]
    if len(candidates) != 1:
        raise InputError(
            f"expected an array `x` (float32 NCHW) in {path}, found {', '.join(names) or 'no arrays'}. "
            "Save the inputs as x: np.savez(path, x=inputs, y=labels)"
        )
    return candidates[0]


def input_problems(shape: tuple[int, ...], fortran: bool, dtype: np.dtype[np.generic]) -> list[str]:
    """Why an array cannot be the inputs, and what to do about it; empty where it can."""
    problems = []
    if dtype != np.dtype("<f4"):
        problems.append(
            f"dtype {dtype.newbyteorder('=').name if dtype.kind != 'O' else 'object'}{_byte_order(dtype)}: save it with astype('float32')"
        )
    if len(shape) != 4:
        problems.append(f"{len(shape)} dimensions {list(shape)}: reshape it to four")
    elif min(shape) < 1:
        problems.append(f"no samples in shape {list(shape)}")
    if fortran and len(shape) > 1:
        problems.append("Fortran order, which cannot be read row by row: save np.ascontiguousarray(x)")
    return problems


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether [n, h, w, c] is meant: an image of one or three pixels' width and many channels is none."""
    return shape[3] in (1, 3) and min(shape[1:3]) > MOST_CHANNELS


def _byte_order(dtype: np.dtype[np.generic]) -> str:
    return " (big-endian)" if dtype.str.startswith(">") else ""


def read_labels(path: Path, archive: zipfile.ZipFile, count: int) -> NDArray[np.int64]:
    """`y` as int64 [count].

    Raises:
        InputError: another shape or type, or negative labels.
    """
    with archive.open("y.npy") as stream:
        shape, _, dtype = read_header(stream)
        if dtype.kind not in "iu" or shape != (count,):
            raise InputError(f"expected `y` of {path} to be int [{count}], a label for each row of the inputs; found {dtype} {list(shape)}")
        y = np.empty(shape, dtype=dtype)
        fill(stream, y.view(np.uint8).data)
    labels = y.astype(np.int64)
    if labels.min() < 0:
        rows = listing([f"row {row}: {labels[row]}" for row in np.flatnonzero(labels < 0)])
        raise InputError(f"expected labels from 0 on in `y` of {path}, found:\n{rows}")
    return labels


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether in Fortran order, and dtype; the stream then stands at the first number.

    Raises:
        ValueError: another version of the format than 1 and 2.
    """
    match npy.read_magic(stream):
        case (1, 0):
            return npy.read_array_header_1_0(stream)
        case (2, 0):
            return npy.read_array_header_2_0(stream)
        case version:
            raise ValueError(f"version {version} of the .npy format")


def fill(stream: IO[bytes], target: memoryview) -> None:
    """Read exactly as many bytes as `target` has.

    Raises:
        EOFError: the stream ends before.
    """
    at = 0
    while at < len(target):
        piece = stream.read(min(PIECE_BYTES, len(target) - at))
        if not piece:
            raise EOFError(f"{len(target) - at} bytes missing at the end of an array")
        target[at : at + len(piece)] = piece
        at += len(piece)


def not_finite_rows(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows of x, float32 [n, ...], that hold NaN or infinity: int64 [k], ascending."""
    rows: NDArray[np.int64] = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    return rows


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged or foreign file raises into an InputError."""
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"expected an .npz (numpy.savez) at {path}, found a file that cannot be read: {error}. Write it again") from error
