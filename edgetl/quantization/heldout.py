"""Calibration images in two parts: most of them fit, every so many-th judges what was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.runtime.session import InputSource

EVERY = 5
FEW, FEW_PIXELS = 64, 800_000  # images that decide what need not be decided on all, or so many as have so many pixels


@dataclass(frozen=True)
class Images:
    """A batch without labels: calibration needs none."""

    x: NDArray[np.float32]
    y: None = None


@dataclass(frozen=True)
class Arrays:
    """Images in memory as a source: float32 [n, c, h, w]."""

    x: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int) -> Iterator[Images]:
        """The images, in order, `size` at a time."""
        for start in range(0, len(self.x), size):
            yield Images(self.x[start : start + size])


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


@dataclass(frozen=True, kw_only=True)
class Some:
    """`count` images of `source`, spread evenly: a folder may be in the order of its classes."""

    source: InputSource
    count: int

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> Iterator[Images]:
        """The images, in order, `size` at a time."""
        every, waiting, index = len(self.source), list[NDArray[np.float32]](), 0
        for batch in self.source.batches(size):
            for image in batch.x:
                if (index + 1) * self.count // every > index * self.count // every:
                    waiting.append(image)
                index += 1
            while len(waiting) >= size:
                yield Images(np.stack(waiting[:size]))
                waiting = waiting[size:]
        if waiting:
            yield Images(np.stack(waiting))


def some(source: InputSource, count: int) -> InputSource:
    """`count` images of `source`, or all where there are no more."""
    return source if count >= len(source) else Some(source=source, count=count)


def parts(source: InputSource) -> tuple[InputSource, InputSource]:
    """What fits and what judges; too few images do both."""
    if len(source) < EVERY:
        return source, source
    return Part(source=source, judges=False), Part(source=source, judges=True)


def first_images(source: InputSource, pixels: int = FEW_PIXELS, most: int = FEW, at_least: int = 8) -> NDArray[np.float32]:
    """The first images of a source, float32 [n, c, h, w]: `most`, or fewer large ones, so many as have `pixels` pixels."""
    found: list[NDArray[np.float32]] = []
    wanted = at_least
    for batch in source.batches(at_least):
        wanted = max(at_least, min(most, pixels // (batch.x.shape[2] * batch.x.shape[3])))
        found.append(batch.x[: wanted - sum(map(len, found))])
        if sum(map(len, found)) >= wanted:
            break
    return np.concatenate(found)
