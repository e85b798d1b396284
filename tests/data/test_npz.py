"""Inputs from an .npz: the same as numpy loads, a batch at a time, or one message."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl.core.errors import InputError
from edgetl.data.npz import open_npz

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3, 8, 9)).astype(np.float32)
Y = RNG.integers(0, 5, 23)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        open_npz(path)
    return str(error.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [1, 7, 23, 100])
def test_batches_are_what_numpy_loads(tmp_path: Path, save: Callable[..., None], size: int) -> None:
    save(tmp_path / "a.npz", x=X, y=Y)
    tensors = open_npz(tmp_path / "a.npz")
    for _ in range(2):
        batches = list(tensors.batches(size))
        assert all(len(batch.x) == size for batch in batches[:-1]) and batches[0].x.dtype == np.float32
        assert np.array_equal(np.concatenate([batch.x for batch in batches]), X)
        assert np.array_equal(np.concatenate([batch.y for batch in batches if batch.y is not None]), Y)
    assert len(tensors) == 23 and tensors.labels is not None and tensors.labels.dtype == np.int64


def test_digest_is_of_the_file_and_hashes_are_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X)
    np.savez_compressed(tmp_path / "b.npz", x=X[::-1])
    a, b = open_npz(tmp_path / "a.npz"), open_npz(tmp_path / "b.npz")
    assert a.digest == hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    assert a.hashes == tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in X) == b.hashes[::-1]
    assert next(a.batches(4)).y is None


def test_the_only_array_beside_y_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=X)
    np.savez(tmp_path / "two.npz", images=X, y=Y)
    np.savez(tmp_path / "more.npz", x=X, z=X)
    assert [open_npz(tmp_path / name).array for name in ("one.npz", "two.npz", "more.npz")] == ["images", "images", "x"]


def test_other_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", p=X, q=X, y=Y)
    np.savez(tmp_path / "b.npz", y=Y)
    np.savez(tmp_path / "c.npz")
    assert "expected an array `x` (float32 NCHW)" in refused(tmp_path / "a.npz") and "found p, q, y. Save" in refused(tmp_path / "a.npz")
    assert "found y. Save the inputs as x" in refused(tmp_path / "b.npz")
    assert "found no arrays. Save" in refused(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X.astype(np.float64), "  dtype float64: save it with astype('float32')"),
        (X.astype(">f4"), "  dtype float32 (big-endian): save it with astype('float32')"),
        ((X * 255).astype(np.uint8), "  dtype uint8: save it"),
        (X.astype(object), "  dtype object: save it"),
        (X.reshape(23, -1), "  2 dimensions [23, 216]: reshape it to four"),
        (X[:0], "  no samples in shape [0, 3, 8, 9]"),
        (np.asfortranarray(X), "  Fortran order, which cannot be read row by row: save np.ascontiguousarray(x)"),
    ],
)
def test_arrays_that_are_not_inputs_are_refused(tmp_path: Path, x: Any, words: str) -> None:
    np.savez(tmp_path / "a.npz", x=x)
    message = refused(tmp_path / "a.npz")
    assert "to be float32 [n, channels, height, width], preprocessed; found:\n" in message and words in message


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 9, 3), (9, 8, 1), (32, 32, 3)])
def test_images_with_channels_last_are_taken_as_they_are_meant(tmp_path: Path, told: Any, height: int, width: int, channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((5, height, width, channels)).astype(np.float32)
    np.savez(tmp_path / "last.npz", x=x)
    np.savez(tmp_path / "first.npz", x=x.transpose(0, 3, 1, 2))
    last, first = open_npz(tmp_path / "last.npz"), open_npz(tmp_path / "first.npz")
    assert last.shape == (5, channels, height, width) and last.hashes == first.hashes
    for ours, theirs in zip(last.batches(2), first.batches(2), strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x)
    assert f"channels last; it is read as [5, {channels}, {height}, {width}]" in told.text


def test_all_problems_of_an_array_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(X.reshape(23, -1).astype(np.float64)))
    assert all(words in refused(tmp_path / "a.npz") for words in ("dtype float64", "2 dimensions", "Fortran order"))


def test_rows_with_nan_or_infinity_are_all_named(tmp_path: Path) -> None:
    x = X.copy()
    x[3, 0, 0, 0], x[17, 2, 7, 8] = np.nan, -np.inf
    np.savez(tmp_path / "a.npz", x=x)
    assert "found NaN or infinity in:\n  row 3\n  row 17\nTake these rows out" in refused(tmp_path / "a.npz")


def test_nan_that_appears_later_is_named_by_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X)
    tensors, x = open_npz(tmp_path / "a.npz"), X.copy()
    x[12] = np.nan
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match="row 12"):
        list(tensors.batches(5))


@pytest.mark.parametrize("y", [Y.astype(np.float32), Y[:5], Y.reshape(23, 1), np.array(["a"] * 23), Y.astype(bool)])
def test_labels_that_are_not_int_n_are_refused(tmp_path: Path, y: Any) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=y)
    assert "to be int [23], a label for each row of the inputs; found" in refused(tmp_path / "a.npz")


def test_negative_labels_are_named(tmp_path: Path) -> None:
    y = Y.copy()
    y[[2, 9]] = -1
    np.savez(tmp_path / "a.npz", x=X, y=y)
    assert "found:\n  row 2: -1\n  row 9: -1" in refused(tmp_path / "a.npz")


def test_files_that_are_no_npz_or_damaged_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "npy.npz").write_bytes((tmp_path / "a.npy").read_bytes())
    np.savez(tmp_path / "whole.npz", x=X)
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.npz").write_bytes(bytes(data))
    stream = io.BytesIO()
    np.save(stream, X)
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue()[:-10])
    for name in ("npy.npz", "flipped.npz", "short.npz", "absent.npz"):
        assert "found a file that cannot be read: " in refused(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_more_than_a_few_batches_are_in_memory(tmp_path: Path, save: Callable[..., None]) -> None:
    x = np.zeros((600, 3, 64, 64), np.float32)  # 29 MB
    save(tmp_path / "a.npz", x=x)
    tensors = open_npz(tmp_path / "a.npz")
    tracemalloc.start()
    try:
        assert sum(len(batch.x) for batch in tensors.batches(16)) == 600
        assert tracemalloc.get_traced_memory()[1] < 6 * 16 * 3 * 64 * 64 * 4  # a batch, the next, and zipfile's pieces
    finally:
        tracemalloc.stop()
