"""The steps between an image file and an answer, one golden array each, so that a port that disagrees learns at which step.

    file           golden/00.jpg
    decoded        golden/00.decoded.npy  uint8 [height, width, channels], upright, in the network's colors
    resized        golden/00.resized.npy  uint8 [height, width, channels] at the network's size: what model.image.onnx takes
    input          golden/00.input.npy    float32 [1, channels, height, width]: what model.onnx takes
    logits         golden/00.output.npy   what model.onnx gives, float32 [1, k], whatever its numbers mean
    probabilities  `top` in golden.json   the likeliest classes with their confidences
    class          `answers` in golden.json
    decision       `decision` in golden.json: the class, or "unknown"

Each tolerance holds for a step that was given the golden array of the step before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.client import PIXEL_LEVELS
from edgetl.core.preprocess import Preprocess
from edgetl.tasks.meaning import Meaning

MOST_BYTES = 2**22  # of a decoded picture: beyond, a bundle would be photos with a model beside them
RESIZE_LEVELS = 1.0
INPUT_SHARE = 1e-6  # of the largest input: one rounding of float32 for each of three operations, and room
PROBABILITY = 1e-5  # what two ways to compute softmax differ by
FLOAT32 = 2.0**-23  # of the largest logit: rounded before it is subtracted, it changes the others' shares so much


@dataclass(frozen=True, kw_only=True)
class StageTolerance:
    """How far a step may be off, and why: `levels` of 255 for pixels, else |found - golden| <= abs + rel * |golden|.

    `graph_abs` stands for `abs` where a graph has just computed what the step takes: probabilities that come out of model.image.onnx.
    """

    reason: str
    levels: float | None = None
    abs: float | None = None
    rel: float | None = None
    graph_abs: float | None = None


def write_stages(folder: Path, stem: str, data: bytes, preprocess: Preprocess) -> dict[str, str]:
    """Write the arrays of the first steps of an image file; step -> file name. A very large picture is not written decoded."""
    arrays = {"decoded": preprocess.picture(data), "resized": preprocess.pixels(data)}
    written = {step: array for step, array in arrays.items() if array.nbytes <= MOST_BYTES}
    for step, array in written.items():
        np.save(folder / f"{stem}.{step}.npy", np.ascontiguousarray(array))
    return {step: f"{stem}.{step}.npy" for step in written}


def tolerances(
    inputs: NDArray[np.float32], logits: tuple[float, float], largest: float, kind: Meaning, temperature: float, why: str
) -> dict[str, StageTolerance]:
    """The tolerance of each step.

    Args:
        inputs: the golden inputs, float32 [n, c, h, w].
        logits: `abs` and `rel` of the outputs of model.onnx.
        largest: of these outputs.
        kind: what they mean.
        temperature: what they are divided by before softmax.
        why: the reason for `logits`.
    """
    off = logits[0] + logits[1] * largest
    probable = off / 2 / temperature if kind in ("logits", "logit", "log_probabilities") else off
    return {
        "decoded": StageTolerance(levels=PIXEL_LEVELS, reason="JPEG decoders may round differently; PNG has no tolerance to need"),
        "resized": StageTolerance(
            levels=RESIZE_LEVELS,
            reason="rounding of weights and sums; Pillow 13 takes rows first where the height shrinks much more than the width",
        ),
        "input": StageTolerance(abs=INPUT_SHARE * float(np.abs(inputs).max()), rel=0.0, reason="float32 rounds each of the operations"),
        "logits": StageTolerance(abs=logits[0], rel=logits[1], reason=why),
        "probabilities": StageTolerance(
            abs=max(PROBABILITY, FLOAT32 * largest / temperature),
            rel=0.0,
            graph_abs=min(1.0, probable + PROBABILITY),
            reason="two ways to compute softmax; out of a graph (graph_abs) half of what the logits may be off, as softmax passes on",
        ),
        "class": StageTolerance(reason="the same, wherever the first class leads the second by more than twice what the logits may be off"),
        "decision": StageTolerance(reason="the same; null where rounding decides: the threshold or the second class is too near"),
    }
