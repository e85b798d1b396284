"""Comparisons of two models on the same images, and of the shipped model with the required score: parts of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgetl.metrics.parity import Standing, VerdictWord
from edgetl.report.numbers import Count, Difference, Exact, Finite, Share


@dataclass(frozen=True, kw_only=True)
class ExportParity(Exact):
    """The checkpoint against its float ONNX: `max_abs_diff` in units of the outputs."""

    images: Count
    agreement: Share
    max_abs_diff: Finite
    passed: bool


@dataclass(frozen=True, kw_only=True)
class LostClass(Exact):
    """A class whose recall fell: of its `images`, the reference has `before` right, the candidate `after`.

    Attributes:
        shown: whether more of it is lost than one class may lose, beyond chance and with regard to the number of classes.
    """

    name: str
    images: Count
    before: Count
    after: Count
    shown: bool


@dataclass(frozen=True, kw_only=True)
class DropParity(Exact):
    """A candidate against a reference on the same images.

    Attributes:
        drop: reference score minus candidate score, a fraction; `drop_ci95` its paired 95% interval.
        method: how the interval was made, with its source.
        standing: of the whole interval to the budget: `within`, `beyond`, or `undecided`.
        lost, gained: images that the reference alone, and that the candidate alone, has right.
        effective_images: how many independent images tell as much, where some of them are near-duplicates.
        images_needed: test images with which the same drop would be certain to be within budget, where it is not yet.
        lost_classes: those that are lost, or look like it; the surest first.
    """

    images: Count
    agreement: Share
    drop: Difference
    drop_ci95: tuple[Difference, Difference]
    max_drop: Share
    verdict: VerdictWord
    method: str | None = None
    standing: Standing | None = None
    lost: Count | None = None
    gained: Count | None = None
    effective_images: Finite | None = None
    images_needed: Count | None = None
    lost_classes: tuple[LostClass, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Wish(Exact):
    """The required score of the shipped model: met or missed by the whole interval, or undecided; fractions."""

    min_score: Share
    score: Share
    score_ci95: tuple[Share, Share]
    standing: Literal["met", "undecided", "missed"]


@dataclass(frozen=True, kw_only=True)
class Int8Parity(DropParity):
    """The int8 graph against the float graph; `sqnr_db` is None where their outputs are equal to the last bit."""

    sqnr_db: Finite | None


@dataclass(frozen=True, kw_only=True)
class Parity(Exact):
    """The three comparisons, or those whose models were given."""

    export: ExportParity | None = None
    int8: Int8Parity | None = None
    end_to_end: DropParity | None = None
