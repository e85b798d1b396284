"""Score against size and latency: the students that were tried under a budget, part of `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetl.report.numbers import Count, Exact, Share, read_part


@dataclass(frozen=True, kw_only=True)
class Tried(Exact):
    """A student, distilled for a short time.

    Attributes:
        student: its name.
        image_size: pixels.
        score: on val, a fraction.
        size_bytes: of its int8 file.
        latency_ms: of the int8 file, one image at one thread.
        fits: whether it keeps the budget.
        taken: whether it was distilled in full.
        moved: whether the latency moved by more than a tenth while it was measured.
        balanced: mean recall of the classes, by which students are chosen where the classes are unbalanced, a fraction.
    """

    student: str
    image_size: Count
    score: Share
    size_bytes: Count
    latency_ms: float
    fits: bool
    taken: bool
    moved: bool | None = None
    balanced: Share | None = None


@dataclass(frozen=True, kw_only=True)
class TooSlow(Exact):
    """A student that was not distilled, because its network with random weights was too slow.

    Attributes:
        student: its name.
        image_size: pixels.
        size_bytes: of the int8 file of that network.
        latency_ms: of that file, one image at one thread.
    """

    student: str
    image_size: Count
    size_bytes: Count
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Frontier(Exact):
    """All that was tried, on the part that chose, and the budget in bytes and ms.

    Attributes:
        standard_error: of the highest score that chose (`balanced` where classes are unbalanced), a fraction; near-duplicates of one class
            count once.
        too_slow: what was measured and not distilled; None: nothing.
    """

    part: Literal["val"]
    images: Count
    standard_error: Share
    max_bytes: Count | None
    max_ms: float | None
    tried: tuple[Tried, ...]
    too_slow: tuple[TooSlow, ...] | None = None


def read_frontier(path: Path) -> Frontier:
    """What the search wrote as `frontier.json`.

    Raises:
        InputError: something else is there.
    """
    return read_part(path, Frontier, "what the search for a student wrote")
