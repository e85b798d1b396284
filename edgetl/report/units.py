"""Formatting of numbers: shares, points, sizes, times, counts."""

from __future__ import annotations

NO_VALUE = "-"
FEW_IMAGES = 20  # images, of fewer a share is no share: they are counted


def percent(share: float) -> str:
    """0.978 -> `97.8%`; 0.9997 -> `99.97%`, since not all is not 100%."""
    texts = [f"{100 * share:.{digits}f}" for digits in range(1, 5)]
    return f"{next((text for text in texts if share in (0, 1) or float(text) not in (0, 100)), texts[-1])}%"


def share_of(part: int, images: int) -> str:
    """3 of 7 -> `3 of 7`, 30 of 70 -> `42.9%`: few images are counted."""
    return f"{part:,} of {images:,}" if images < FEW_IMAGES else percent(part / images)


def score_of(share: float, images: int) -> str:
    """A share of `images`, counted where they are few: (0.75, 8) -> `6 of 8`."""
    return share_of(round(share * images), images) if images < FEW_IMAGES else percent(share)


def points(difference: float) -> str:
    """0.0067 -> `0.67`, in percentage points."""
    text = f"{100 * difference:.2f}"
    return "0.00" if text == "-0.00" else text


def allowed(max_drop: float) -> str:
    """A budget: 0.01 -> `1 point`, 0.025 -> `2.5 points`."""
    number = f"{100 * max_drop:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def size(count_bytes: int) -> str:
    """84210 -> `84.2 kB`."""
    return f"{count_bytes / 1e6:.2f} MB" if count_bytes >= 1e6 else f"{count_bytes / 1e3:.1f} kB"


def milliseconds(value: float) -> str:
    """0.4137 -> `0.41 ms`."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def ratio(first: float, other: float) -> str:
    """How many times smaller `other` is than `first`: `10.2x`."""
    return f"{first / other:.1f}x" if other else NO_VALUE


def count(number: int, noun: str, many: str | None = None) -> str:
    """1 -> `1 thread`, 2 -> `2 threads`; `many` is the plural of nouns that take no s."""
    return f"{number:,} {noun if number == 1 else many or f'{noun}s'}"
