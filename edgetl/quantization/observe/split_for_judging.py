"""Calibration images in three parts: most fit, some choose between what was fitted, some report; no image does two of these.

What chose cannot report: of several ways the best on some images looks better there than it is (docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetl.metrics.clusters import Groups
from edgetl.runtime.session import InputSource

HELD_OUT_EVERY = 5  # images of which one is held out, to choose or to report
FEWEST_TO_CHOOSE = 20  # calibration images from which on some choose: with fewer, too few would
FEW_IMAGES, FEW_PIXELS = 64, 800_000  # images that decide what need not be decided on all, or so many as have so many pixels


@dataclass(frozen=True)
class UnlabeledBatch:
    """A batch without labels: calibration needs none."""

    x: NDArray[np.float32]
    y: None = None


@dataclass(frozen=True)
class Arrays:
    """Images in memory as a source: float32 [n, c, h, w]."""

    x: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int) -> Iterator[UnlabeledBatch]:
        """The images, in order, `size` at a time."""
        for start in range(0, len(self.x), size):
            yield UnlabeledBatch(self.x[start : start + size])


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The images of `source` at the places `kept`, as a stream, like the source."""

    source: InputSource
    kept: frozenset[int]

    def __len__(self) -> int:
        return len(self.kept)

    def batches(self, size: int) -> Iterator[UnlabeledBatch]:
        """The images, in order, `size` at a time."""
        waiting: list[NDArray[np.float32]] = []
        index = 0
        for batch in self.source.batches(size):
            for image in batch.x:
                if index in self.kept:
                    waiting.append(image)
                index += 1
                if len(waiting) == size:
                    yield UnlabeledBatch(np.stack(waiting))
                    waiting = []
        if waiting:
            yield UnlabeledBatch(np.stack(waiting))


@dataclass(frozen=True, kw_only=True)
class PartSizes:
    """How many calibration images do what; the three parts share none, unless there are too few to hold any out."""

    images: int
    fitted: int
    chose: int
    reported: int

    @staticmethod
    def of(images: int) -> PartSizes:
        """Of so many: a fifth is held out; from `FEWEST_TO_CHOOSE` on, half of that chooses."""
        held = images // HELD_OUT_EVERY
        chose = (held + 1) // 2 if images >= FEWEST_TO_CHOOSE else 0
        return PartSizes(images=images, fitted=images - held, chose=chose, reported=held - chose if held else images)

    def line(self) -> str:
        """For people."""
        if self.images < HELD_OUT_EVERY:
            return f"{self.images} calibration images are too few to hold any out: one method is tried, and its figures are not held out"
        if not self.chose:
            return (
                f"of {self.images} calibration images {self.fitted} are for fitting and {self.reported} for the final figures; "
                f"only one method is tried, since a choice between methods needs at least {FEWEST_TO_CHOOSE}"
            )
        return (
            f"of {self.images} calibration images {self.fitted} are for fitting, {self.chose} for choosing between methods "
            f"and {self.reported} for the final figures"
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationParts:
    """Calibration images by their use.

    Attributes:
        fitting: images for ranges, equalization, rounding, biases and tuning.
        choosing: images that choose between methods; None if there are too few images.
        reporting: images for the figures of the result.
        held_out: whether `reporting` was used for nothing else; if not, it is all images.
        groups: of near-duplicates among `reporting`, int64 [n]; None: none are known.
        alike: how many images of `reporting` look like one that fits or chooses.
    """

    fitting: InputSource
    choosing: InputSource | None
    reporting: InputSource
    held_out: bool
    groups: Groups | None = None
    alike: int = 0

    @property
    def for_search(self) -> InputSource:
        """The images that choose layers to leave in float if there is no evaluation set: those that choose, else those that report."""
        return self.reporting if self.choosing is None else self.choosing

    @staticmethod
    def of(source: InputSource, groups: Groups | None = None) -> CalibrationParts:
        """The parts of `source`, each spread over it; near-duplicates, of one number in `groups` [n], may lie in two: they are counted."""
        count, sizes = len(source), PartSizes.of(len(source))
        held = spread(count, count // HELD_OUT_EVERY)
        if not len(held):
            return CalibrationParts(fitting=source, choosing=None, reporting=source, held_out=False, groups=groups)
        chose, reported = halves(held) if sizes.chose else (held[:0], held)
        return CalibrationParts(
            fitting=Subset(source=source, kept=frozenset(range(count)) - frozenset(held.tolist())),
            choosing=Subset(source=source, kept=frozenset(chose.tolist())) if len(chose) else None,
            reporting=Subset(source=source, kept=frozenset(reported.tolist())),
            held_out=True,
            groups=None if groups is None else groups[reported],
            alike=0 if groups is None else int(np.isin(groups[reported], np.delete(groups, reported)).sum()),
        )


def spread(images: int, count: int) -> NDArray[np.int64]:
    """One place in each of `count` equal slices, by chance: a source may be in the order of its classes, or go round them."""
    edges = np.arange(count + 1, dtype=np.int64) * images // max(1, count)
    return edges[:-1] + (np.random.default_rng(0).random(count) * np.diff(edges)).astype(np.int64)


def halves(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One of every two neighbours, by chance, and the other; of an odd number the last is among the first."""
    first, second = places[0::2], places[1::2]
    pairs = len(second)
    turned = np.random.default_rng(1).random(pairs) < 0.5  # every other place would fall in step with classes in turn
    return np.append(np.where(turned, second, first[:pairs]), first[pairs:]), np.where(turned, first[:pairs], second)


def subset(source: InputSource, count: int) -> InputSource:
    """`count` images of `source`, spread over it, or all where there are no more."""
    return source if count >= len(source) else Subset(source=source, kept=frozenset(spread(len(source), count).tolist()))


def groups_of_subset(used: InputSource, source: InputSource, groups: Groups | None) -> Groups | None:
    """Of the `groups` of `source`, int64 [n], those of the images `used`, a `subset` of it."""
    return groups if groups is None or used is source or not isinstance(used, Subset) else groups[sorted(used.kept)]


def few_images(source: InputSource, pixels: int = FEW_PIXELS, most: int = FEW_IMAGES, at_least: int = 8) -> NDArray[np.float32]:
    """A few images, spread over a source, float32 [n, c, h, w]: `most`, or fewer large ones, so many as have `pixels` pixels."""
    height, width = next(iter(source.batches(1))).x.shape[2:]
    wanted = max(at_least, min(most, pixels // (height * width)))
    return np.concatenate([batch.x for batch in subset(source, wanted).batches(at_least)])
