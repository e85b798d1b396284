"""`edgetl.quantize` on files, graphs and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgetl
from edgetl.core.errors import InputError
from edgetl.runtime.session import open_session


def images(noise: Any, count: int) -> np.ndarray[Any, Any]:
    (batch,) = noise(count).batches(count)
    found: np.ndarray[Any, Any] = batch.x
    return found


def test_a_file_and_an_array_are_enough(small: Path, noise: Any, tmp_path: Path) -> None:
    result = edgetl.quantize(small, images(noise, 40), tune_images=64, threads=1)
    result.save(tmp_path / "int8.onnx")
    float_answers, int8_answers = (open_session(path).run(images(noise, 40)) for path in (small, tmp_path / "int8.onnx"))
    assert (float_answers.argmax(1) == int8_answers.argmax(1)).mean() > 0.9
    assert result.held_out and result.images == 4 and 0.8 <= result.agreement <= 1 and result.sqnr_db > 20
    assert [trial.name for trial in result.log.trials] == [
        "layers equalized",
        "extremes as ranges",
        "ranges by reconstruction",
        "second-order rounding",
        "biases corrected",
        "tuned together",
    ]
    assert result.after.size_bytes == (tmp_path / "int8.onnx").stat().st_size
    assert result.before.size_bytes == small.stat().st_size
    assert result.after.latency_ms.p50 > 0 and 0 < result.placement.int8 < 1


def test_a_graph_in_memory_gives_the_same_and_stays_as_it_is(small: Path, noise: Any) -> None:
    graph = onnx.load(small)
    before = graph.SerializeToString(deterministic=True)
    found = [
        edgetl.quantize(model, images(noise, 20), tune_images=0).model.SerializeToString(deterministic=True) for model in (graph, small)
    ]
    assert found[0] == found[1]
    assert graph.SerializeToString(deterministic=True) == before


def test_an_npz_is_read(small: Path, noise: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "calibration.npz", x=images(noise, 20))
    assert edgetl.quantize(str(small), str(tmp_path / "calibration.npz"), tune_images=0).images == 2


@pytest.mark.parametrize("wrong", [np.zeros((4, 16, 16), np.float32), np.zeros((4, 3, 16, 16)), np.zeros((0, 3, 16, 16), np.float32)])
def test_an_array_that_is_no_images_is_refused(small: Path, wrong: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match=r"expected calibration images as a float32 array \[n, c, h, w\], found float"):
        edgetl.quantize(small, wrong)


def test_images_that_do_not_fit_are_refused(small: Path) -> None:
    with pytest.raises(InputError, match=r"expected float32 inputs of shape \[n, 3, 16, 16\]"):
        edgetl.quantize(small, np.zeros((4, 3, 8, 8), np.float32))
