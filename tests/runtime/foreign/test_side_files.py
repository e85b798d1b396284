"""Laws of weights beside the file: read where they belong, refused by name where they do not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgetl.core.errors import InputError
from edgetl.runtime.foreign.read import read_float, read_runnable
from edgetl.runtime.foreign.side_files import ForeignModel

Entries = dict[str, str]


@pytest.fixture
def split(build: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    """A model whose weights lie in theirs.data."""
    folder = tmp_path / "export"
    folder.mkdir()
    onnx.save_model(build(), folder / "theirs.onnx", save_as_external_data=True, location="theirs.data", size_threshold=0)
    return folder / "theirs.onnx"


def rewritten(path: Path, **changes: str | None) -> Path:
    """The same file with other entries for its first weight; None takes an entry out."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    entries = {entry.key: entry.value for entry in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_read(split: Path, build: Callable[..., onnx.ModelProto], ask: Any, images: Any) -> None:
    for read in (read_float, read_runnable):
        found = read(split)
        assert found.said == ("weights read from theirs.data",) and not found.clean
        np.testing.assert_array_equal(ask(found.model, images), ask(build(), images))


def test_a_constant_in_a_side_file_is_read(build: Callable[..., onnx.ModelProto], ask: Any, images: Any, tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(np.full((8, 1, 1), 2, np.float32))
    middle = [onnx.helper.make_node("Constant", [], ["k"], value=value), onnx.helper.make_node("Mul", ["r", "k"], ["h"])]
    model = build(middle=middle)
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=True)
    np.testing.assert_array_equal(ask(read_float(tmp_path / "m.onnx").model, images), ask(build(middle=middle), images))


@pytest.mark.parametrize(
    "location",
    ["../theirs.data", "/etc/hostname", "sub/../../theirs.data", "C:\\weights.data", "..\\theirs.data", "\\\\host\\share\\x", ""],
)
def test_a_location_outside_the_folder_is_refused_by_name(split: Path, location: str) -> None:
    (split.parent.parent / "theirs.data").write_bytes((split.parent / "theirs.data").read_bytes())
    with pytest.raises(InputError, match=r"weights of theirs.onnx beside it, found that w is in external data outside its folder"):
        read_float(rewritten(split, location=location))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_not_followed(split: Path) -> None:
    data = split.parent / "theirs.data"
    secret = split.parent.parent / "secret"
    data.rename(secret)
    data.symlink_to(secret)
    with pytest.raises(InputError, match="outside its folder"):
        read_float(split)
    data.unlink()
    secret.rename(split.parent / "other.data")
    data.symlink_to("other.data")
    with pytest.raises(InputError, match=r"theirs\.data beside it \(external data\), found a link there. Put a copy"):
        read_float(split)
    data.unlink()
    os.link(split.parent / "other.data", data)
    with pytest.raises(InputError, match="hard link"):
        read_float(split)


def test_a_missing_or_short_side_file_is_named(split: Path) -> None:
    data = split.parent / "theirs.data"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"weights of theirs.onnx in theirs.data beside it, which cannot be read \(external data\)"):
        read_float(split)
    data.unlink()
    with pytest.raises(InputError, match=r"in the file theirs.data beside it \(external data\), found nothing there. Copy it there"):
        read_float(split)


@pytest.mark.parametrize("changes", [{"offset": "-4"}, {"offset": "x"}, {"length": str(2**60)}, {"offset": str(2**70)}, {"length": "8"}])
def test_hostile_offsets_and_lengths_are_refused(split: Path, changes: Entries) -> None:
    with pytest.raises(InputError, match=r"external data"):
        read_float(rewritten(split, **changes))


def test_a_size_beyond_all_memory_is_refused_before_reading(split: Path) -> None:
    model = onnx.load(split, load_external_data=False)
    model.graph.initializer[0].dims[0] = 2**50
    split.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="expected at most 2 GB of weights"):
        read_float(split)


def test_the_side_file_is_part_of_the_digest(split: Path) -> None:
    before = ForeignModel.of(split)
    data = split.parent / "theirs.data"
    changed = bytearray(data.read_bytes())
    changed[0] ^= 1
    data.write_bytes(bytes(changed))
    assert ForeignModel.of(split).digest != before.digest
