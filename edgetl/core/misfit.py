"""Whether a Preprocess gives what a model takes; where not, which of its fields to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import CHANNELS, pair, shown

OR_PREPARED = "or give an .npz that is already preprocessed"


def refuse_misfit(preprocess: Preprocess, shape: Sequence[int | None], model: str) -> None:
    """Pass if a model that takes images of `shape`, [n, channels, height, width], takes what `preprocess` gives (None: any size).

    Raises:
        InputError: it does not; says which fields to change.
    """
    channels, height, width = shape[-3:]
    if all(wanted in (None, found) for wanted, found in zip((channels, height, width), preprocess.shape, strict=True)):
        return
    if channels not in (None, *CHANNELS.values()):
        raise InputError(
            f"expected a model that takes images of 1 or 3 channels, found that {model} takes {channels}, which image files do not have. "
            "Give an .npz that is already preprocessed"
        )
    raise InputError(
        f"expected preprocessing that gives the input of {model}, {_dimensions(channels, height, width)}, "
        f"found preprocessing that gives {_dimensions(*preprocess.shape)}. "
        f"In the preprocessing file write {', '.join(_changes(preprocess, channels, height, width))}; {OR_PREPARED}"
    )


def example_for(shape: Sequence[int | None]) -> str:
    """A Preprocess as JSON for a model that takes images of `shape`: where to start from, its mean and std are not known."""
    channels, height, width = shape[-3:]
    size = _size(height or 224, width or height or 224)
    color, numbers = ("gray", 1) if channels == 1 else ("RGB", 3)
    mean, std = shown([0.5] * numbers), shown([0.5] * numbers)
    return f'{{"size": {size}, "resize": {size}, "color": "{color}", "mean": {mean}, "std": {std}}}'


def _changes(preprocess: Preprocess, channels: int | None, height: int | None, width: int | None) -> Iterator[str]:
    if channels not in (None, preprocess.channels):
        color, words = ("gray", "one number each") if channels == 1 else ("RGB", "three numbers each, red, green and blue")
        yield f'"color": "{color}" (mean and std: {words})'
    mine = pair(preprocess.size)
    wanted = (height or mine[0], width or mine[1])
    if wanted != mine:
        yield f'"size": {_size(*wanted)} and "resize": {_size(*wanted)} (or more)'


def _size(height: int, width: int) -> str:
    return shown(height if height == width else [height, width])


def _dimensions(*sizes: int | None) -> str:
    return "[n, " + ", ".join("any" if size is None else str(size) for size in sizes) + "]"
