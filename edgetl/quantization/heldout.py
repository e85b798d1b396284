"""Calibration images in two parts: most of them fit, every so many-th judges what was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.runtime.session import InputSource

EVERY = 5


@dataclass(frozen=True)
class Images:
    """A batch without labels: calibration needs none."""

    x: NDArray[np.float32]
    y: None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of `source` that judge (every fifth), or the others; as a stream, like the source."""

    source: InputSource
    judges: bool

    def __len__(self) -> int:
        judging = len(self.source) // EVERY
        return judging if self.judges else len(self.source) - judging

    def batches(self, size: int) -> Iterator[Images]:
        """The images, in order, `size` at a time."""
        waiting: list[NDArray[np.float32]] = []
        index = 0
        for batch in self.source.batches(size):
            for image in batch.x:
                index += 1
                if (index % EVERY == 0) == self.judges:
                    waiting.append(image)
                if len(waiting) == size:
                    yield Images(np.stack(waiting))
                    waiting = []
        if waiting:
            yield Images(np.stack(waiting))


def parts(source: InputSource) -> tuple[InputSource, InputSource]:
    """What fits and what judges; too few images do both."""
    if len(source) < EVERY:
        return source, source
    return Part(source=source, judges=False), Part(source=source, judges=True)
