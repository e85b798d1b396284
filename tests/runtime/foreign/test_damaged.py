"""The law of damaged files: whatever the bytes, a file is read or refused with a message; nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgetl.core.errors import InputError
from edgetl.runtime.foreign.read import read_float, read_runnable

Build = Callable[..., onnx.ModelProto]


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_are_refused_with_a_message(build: Build, tmp_path: Path, seed: int) -> None:
    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1)]
    front = [helper.make_node("Transpose", ["x"], ["image"], perm=[0, 3, 1, 2])]
    outputs = [helper.make_tensor_value_info("label", 7, ["n", 1])]
    whole = np.frombuffer(build(front=front, tail=tail, outputs=outputs, shape=("n", 12, 12, 3)).SerializeToString(), np.uint8)
    rng, path = np.random.default_rng(seed), tmp_path / "theirs.onnx"
    refused = 0
    for _ in range(60):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), rng.integers(1, 6))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged[: rng.integers(len(whole) // 2, len(whole) + 1)].tobytes() if rng.random() < 0.3 else damaged.tobytes())
        for read in (read_float, read_runnable):
            try:
                read(path)
            except InputError:
                refused += 1
    assert refused > 10


def test_a_weight_that_does_not_fill_its_shape_is_named(build: Build, tmp_path: Path) -> None:
    model = build()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(InputError, match=r"expected w to have values for its shape \[8, 3, 3, 3\]"):
        read_float(tmp_path / "theirs.onnx")


def test_circles_are_walked_once(build: Build, tmp_path: Path) -> None:
    tail = [helper.make_node("Identity", ["b2"], ["a2"]), helper.make_node("Identity", ["a2"], ["b2"])]
    onnx.save(build(tail=tail, outputs=[helper.make_tensor_value_info("a2", 7, ["n"])]), tmp_path / "theirs.onnx")
    with pytest.raises(InputError, match="to have a float output"):
        read_float(tmp_path / "theirs.onnx")
