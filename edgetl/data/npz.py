"""The arrays of an .npz as network inputs, read as a stream: never more than one batch in memory, never pickle."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.canonical import digest_of, file_sha256
from edgetl.core.errors import InputError, listing
from edgetl.core.progress import say, track
from edgetl.data.npz_format import (
    fill,
    input_problems,
    is_channels_last,
    name_of_inputs,
    not_finite_rows,
    read_header,
    read_labels,
    reading,
)
from edgetl.data.rows import are_pictures, groups_of_rows, looks_of_rows
from edgetl.data.tensors import Batch

SCAN_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class NpzTensors:
    """`x` float32 [n, c, h, w], already preprocessed, and `y` int [n] where there are labels. Made by `open_npz`.

    Attributes:
        path: the .npz.
        array: the name of the array that holds the inputs.
        shape: [n, c, h, w].
        labels: int64 [n], or None.
        channels_last: whether the file holds [n, h, w, c], as Keras has images.
    """

    path: Path
    array: str
    shape: tuple[int, ...]
    labels: NDArray[np.int64] | None
    channels_last: bool = False

    @cached_property
    def digest(self) -> str:
        """sha256 of the file."""
        return file_sha256(self.path)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of the bytes (little-endian float32) of every row of `x`.

        Raises:
            InputError: rows that hold NaN or infinity (all named), or a damaged file.
        """
        found: list[str] = []
        bad: list[int] = []
        rows = max(1, SCAN_BYTES // self._row_bytes)
        with track(f"read {self.path.name}", total=len(self), unit="row") as bar:
            for x in self._blocks(rows):
                bad += [len(found) + int(i) for i in not_finite_rows(x)]
                found += [hashlib.sha256(row).hexdigest() for row in x]
                bar.advance(len(x))
        if bad:
            raise self._unusable(bad)
        return tuple(found)

    @cached_property
    def looks(self) -> Mapping[str, str]:
        """sha256 -> perceptual hash of every row that shows something; empty where rows are no pictures."""
        return looks_of_rows(self._blocks(max(1, SCAN_BYTES // self._row_bytes)), self.hashes) if are_pictures(self.shape) else {}

    @cached_property
    def groups_here(self) -> tuple[tuple[str, ...], ...]:
        """The groups of near-duplicates among the rows, each of two or more, by sha256, sorted; none where rows are no pictures."""
        if not are_pictures(self.shape):
            return ()
        found = groups_of_rows(self._blocks(max(1, SCAN_BYTES // self._row_bytes)), self.hashes)
        if found:
            say(f"{self.path.name}: {sum(map(len, found))} rows look like another one ({len(found)} groups); the intervals allow for that")
        return found

    @property
    def doubt(self) -> str | None:
        """What is not known of how independent the rows are; None where they were compared."""
        _, *size = self.shape
        words = f"images of {self.path.name} are taken as independent: near-duplicates are not looked for in rows of shape {size}"
        return None if are_pictures(self.shape) else words

    @property
    def places(self) -> tuple[str, ...]:
        """The name of every row, for messages."""
        return tuple(f"row {row}" for row in range(len(self)))

    def __len__(self) -> int:
        """The number of rows."""
        return self.shape[0]

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, in order, `size` at a time.

        Raises:
            InputError: rows that hold NaN or infinity (named), or a damaged file.
        """
        start = 0
        for x in self._blocks(size):
            if len(bad := not_finite_rows(x)):
                raise self._unusable([start + int(i) for i in bad])
            yield Batch(x, None if self.labels is None else self.labels[start : start + len(x)])
            start += len(x)

    def _blocks(self, rows: int) -> Iterator[NDArray[np.float32]]:
        """Float32 [at most rows, c, h, w]; each block is a new array."""
        _, c, h, w = self.shape
        stored = (h, w, c) if self.channels_last else (c, h, w)
        with reading(self.path), zipfile.ZipFile(self.path) as archive, archive.open(f"{self.array}.npy") as stream:
            read_header(stream)
            for start in range(0, len(self), rows):
                x = np.empty((min(rows, len(self) - start), *stored), dtype="<f4")
                fill(stream, x.reshape(-1).view(np.uint8).data)
                yield np.ascontiguousarray(np.moveaxis(x, -1, 1)) if self.channels_last else x

    @property
    def _row_bytes(self) -> int:
        return 4 * int(np.prod(self.shape[1:]))

    def _unusable(self, rows: Sequence[int]) -> InputError:
        shown = listing([f"row {row}" for row in rows])
        return InputError(
            f"expected finite numbers in {self.array!r} of {self.path}, found NaN or infinity in:\n{shown}\nTake these rows out"
        )


@dataclass(frozen=True, kw_only=True)
class NpzRows:
    """Some rows of an .npz, as a stream like the whole.

    Attributes:
        whole: all of them.
        rows: those that count, in order.
    """

    whole: NpzTensors
    rows: tuple[int, ...]

    @cached_property
    def digest(self) -> str:
        """sha256 over the file and the rows."""
        return digest_of([self.whole.digest, list(self.rows)])

    @property
    def hashes(self) -> tuple[str, ...]:
        """The sha256 of every row that counts."""
        return tuple(self.whole.hashes[row] for row in self.rows)

    @property
    def looks(self) -> Mapping[str, str]:
        """sha256 -> perceptual hash of the rows of the whole file."""
        return self.whole.looks

    @property
    def places(self) -> tuple[str, ...]:
        """The name of every row, counted in the whole file."""
        return tuple(f"row {row}" for row in self.rows)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """int64 [n], or None."""
        return None if self.whole.labels is None else self.whole.labels[list(self.rows)]

    def __len__(self) -> int:
        """The number of rows that count."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows that count, in order, at most `size` at a time.

        Raises:
            InputError: as for the whole.
        """
        wanted, start = np.zeros(len(self.whole), dtype=bool), 0
        wanted[list(self.rows)] = True
        for batch in self.whole.batches(size):
            here = wanted[start : start + len(batch.x)]
            start += len(batch.x)
            if here.any():
                yield Batch(batch.x[here], None if batch.y is None else batch.y[here])


def open_npz(path: Path) -> NpzTensors:
    """The arrays of the .npz at `path`, gone through once.

    The inputs are the array `x`, or the only array there is beside `y`.

    Raises:
        InputError: no .npz; no array that can be the inputs; not float32 in C order with four dimensions; labels that are not int [n];
            NaN or infinity.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        names = sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
        array = name_of_inputs(path, names)
        with archive.open(f"{array}.npy") as stream:
            shape, fortran, dtype = read_header(stream)
        problems = input_problems(shape, fortran, dtype)
        if problems:
            found = "\n".join(f"  {problem}" for problem in problems)
            raise InputError(f"expected {array!r} of {path} to be float32 [n, channels, height, width], preprocessed; found:\n{found}")
        labels = read_labels(path, archive, shape[0]) if "y" in names and array != "y" else None
    last = is_channels_last(shape)
    if last:
        stored, shape = shape, (shape[0], shape[3], shape[1], shape[2])
        say(f"{path.name}: {array} has shape {list(stored)}, channels last; it is read as {list(shape)}")
    tensors = NpzTensors(path=path, array=array, shape=shape, labels=labels, channels_last=last)
    _ = tensors.hashes  # finds all rows that cannot be used, before any work starts
    return tensors
