"""Laws of evidence: images that show nothing, or cannot tell answers apart, are said to; never is it "perfect" without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.evidence import Shown, problems_of, same_answers
from edgetl.quantization.observe.split_for_judging import Arrays

LEVEL = Preprocess(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def photos(count: int, low: int = 0, high: int = 256, seed: int = 0) -> NDArray[np.float32]:
    """Noise of some of the 256 levels, as `LEVEL` prepares it: float32 [count, 3, 16, 16]."""
    levels = np.random.default_rng(seed).integers(low, high, (count, 16, 16, 3)).astype(np.uint8)
    return LEVEL.normalize(levels)


def problems(x: NDArray[np.float32], answers: NDArray[np.float32] | None = None) -> str:
    shown = Shown()
    for image in x:
        shown.add(image)
    source = Arrays(x)
    object.__setattr__(source, "preprocess", LEVEL)
    return " | ".join(problems_of(shown, source, np.eye(len(x), 5, dtype=np.float32) if answers is None else answers))


def test_photos_that_differ_are_evidence() -> None:
    assert problems(photos(20)) == ""


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (photos(1), "too few calibration images (1)"),
        (photos(4), "too few calibration images (4)"),
        (np.repeat(photos(1), 9, 0), "all 9 calibration images are identical"),
        (np.linspace(-1, 1, 9, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 16, 16), np.float32), "blank: each is of one color"),
        (photos(9, 0, 3), "blank: all of them lie within 2 of 256 levels"),
        (photos(9, 250, 256), "blank: all of them lie within 5 of 256 levels"),
    ],
)
def test_images_that_show_nothing_are_said(x: NDArray[np.float32], said: str) -> None:
    assert said in problems(x)


def test_one_answer_to_all_images_proves_nothing() -> None:
    answers = np.random.default_rng(0).random((9, 5), np.float32)
    assert same_answers(answers) == []
    answers[:, 2] += 2
    assert "the same answer (output 2) to all 9 images" in problems(photos(9), answers)


def test_outputs_that_hardly_move_prove_nothing() -> None:
    answers = 3 + 1e-4 * np.random.default_rng(0).random((9, 5), np.float32)
    assert "nearly the same" in problems(photos(9), answers)


def test_the_decision_record_says_so(small: Path, noise: Any, tmp_path: Path) -> None:
    record = quantize(small, Arrays(np.repeat(photos(1), 12, 0)), out=tmp_path / "q.onnx", tune_images=0)
    assert "all 12 calibration images are identical" in record.warnings
    assert any("same answer" in warning for warning in record.warnings)
    good = quantize(small, noise(40), out=tmp_path / "q.onnx", tune_images=0)
    assert not any("identical" in warning for warning in good.warnings)


def test_nothing_but_zeros_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected calibration images, found only blank ones: all their values are zero. Calibrate on"):
        quantize(small, Arrays(np.zeros((8, 3, 16, 16), np.float32)), out=tmp_path / "q.onnx", tune_images=0)
    assert not (tmp_path / "q.onnx").exists()
