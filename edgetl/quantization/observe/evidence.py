"""Whether calibration images can show anything: identical or blank images, and equal answers, prove nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.quantization.observe.split_for_judging import HELD_OUT_EVERY
from edgetl.runtime.session import InputBatch, InputSource
from edgetl.tasks.classification import Classification

FEWEST_LEVELS = 16  # of a photo's 256: what spans fewer is black, white or fog
ALIKE_SHARE = 0.01  # of the logits' size: what they differ by from image to image
ADVICE = "Calibrate on photos like those that the app will see, of several classes"


@dataclass
class Shown:
    """Statistics of the calibration images.

    Attributes:
        kinds: digests of the distinct images.
        flat: digests of images of one color.
        low, high: extremes of each channel, float32 [channels].
    """

    kinds: set[bytes] = field(default_factory=set)
    flat: set[bytes] = field(default_factory=set)
    low: NDArray[np.float32] = field(default_factory=lambda: np.array([np.inf], np.float32))
    high: NDArray[np.float32] = field(default_factory=lambda: np.array([-np.inf], np.float32))

    def add(self, image: NDArray[np.float32]) -> None:
        """Add an image, float32 [c, h, w]."""
        digest = blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        if digest in self.kinds:
            return
        self.kinds.add(digest)
        lowest, highest = image.min((1, 2)), image.max((1, 2))
        if (lowest == highest).all():
            self.flat.add(digest)
        self.low, self.high = np.minimum(self.low, lowest), np.maximum(self.high, highest)

    def problems(self, images: int, level: float | None) -> list[str]:
        """Why `images` calibration images show little, a sentence each; `level`: the step of a photo's 256 levels, if known."""
        found: list[str] = []
        span = float((self.high - self.low).max())
        if images < HELD_OUT_EVERY:
            found.append(f"too few calibration images ({images}): none can be held out, so agreement is that of images that set the ranges")
        if len(self.kinds) == 1 < images:
            found.append(f"all {images} calibration images are identical")
        if self.flat == self.kinds:
            found.append("calibration images are blank: each is of one color")
        elif level is not None and span < FEWEST_LEVELS * level:
            found.append(f"calibration images are blank: all of them lie within {span / level:.0f} of 256 levels")
        return found


@dataclass(frozen=True)
class Watched:
    """A source that adds its images to the statistics as it yields them."""

    source: InputSource
    shown: Shown

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, size: int) -> Iterator[InputBatch]:
        """The images, in order, `size` at a time."""
        for batch in self.source.batches(size):
            for image in batch.x:
                self.shown.add(image)
            yield batch


def refuse_nothing(shown: Shown) -> None:
    """Raise InputError where every value of every image is zero: no range can come of it."""
    if not shown.low.any() and not shown.high.any():
        raise InputError(f"expected calibration images, found only blank ones: all their values are zero. {ADVICE}")


def problems_of(shown: Shown, source: InputSource, answers: NDArray[np.float32]) -> tuple[str, ...]:
    """Why agreement and noise on these images are no evidence; empty where they are.

    Args:
        shown: all calibration images.
        source: the calibration images; its Preprocess, if it has one, gives the step of their levels.
        answers: outputs of the float model for the images that are held out, float32 [n, k].
    """
    preprocess = getattr(source, "preprocess", None)
    level = None if preprocess is None else 1 / (255 * max(preprocess.std))
    return (*shown.problems(len(source), level), *same_answers(answers))


def same_answers(answers: NDArray[np.float32]) -> list[str]:
    """A sentence if the float model's outputs, float32 [n, k], are all alike; else empty."""
    if len(answers) < 2:
        return []
    named = {int(answer) for answer in Classification(classes=()).reading(answers).answers(answers)}
    if len(named) == 1:
        return [f"the float model gives the same answer (output {named.pop()}) to all {len(answers)} images: agreement proves nothing"]
    differ = np.abs(answers - answers.mean(0)).max()
    if differ < ALIKE_SHARE * np.abs(answers).max():
        return [f"the float model's outputs are nearly the same for all {len(answers)} images that are held out"]
    return []
