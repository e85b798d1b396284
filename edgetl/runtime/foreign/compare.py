"""Whether a model answers as before after its types have changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.runtime.engine import start

MOST_NOISE = 0.1  # of the scores' size; sums in float16 of a deep network are off by some percent
OPEN_SIDE = 224  # pixels, where the file leaves height and width open
NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def compared(before: bytes, after: onnx.ModelProto, name: str) -> str:
    """A remark about the answers of both to noise: empty if they are alike, or if the model before cannot be run here.

    Raises:
        InputError: they are not.
    """
    after_outputs = _answer(start(after.SerializeToString()))
    try:
        before_outputs = _answer(start(before))
    except InputError:
        return ""
    if before_outputs is None or after_outputs is None:
        return ""
    if not np.isfinite(before_outputs).all():
        return ", where it does not overflow as before" if np.isfinite(after_outputs).all() else ""
    noise = float(np.linalg.norm(before_outputs - after_outputs) / max(float(np.linalg.norm(before_outputs)), 1e-12))
    if noise > MOST_NOISE:
        raise InputError(
            f"expected the same outputs of {name} after conversion to float32, found a difference of {noise:.0%} on a random input: "
            "they depend on the rounding of its number format. Export the model in float32"
        )
    return ""


def _answer(engine: Any) -> NDArray[np.float64] | None:
    """The first output for one image of normal noise; None where the file leaves open what it takes."""
    (given,) = engine.get_inputs()
    if given.type not in NUMPY:
        return None
    open_sizes = (1, 3, OPEN_SIDE, OPEN_SIDE)
    shape = [size if isinstance(size, int) and size > 0 else usual for size, usual in zip(given.shape, open_sizes, strict=True)]
    noise = np.random.default_rng(0).standard_normal(shape).astype(NUMPY[given.type])
    try:
        return np.asarray(engine.run(None, {given.name: noise})[0], dtype=np.float64)
    except Exception:  # onnxruntime's errors derive from Exception and share no base of their own
        return None
