"""Which output is which class, where the file does not say it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgetl.core.errors import InputError

SHOWN_CLASSES = 12  # class names in a message


@dataclass(frozen=True, kw_only=True)
class ClassOrder:
    """Class names in the order of the outputs.

    Attributes:
        classes: the names.
        said: how that order was found, in a sentence; None where the file says it.
        others: another order that is as likely; None where there is none.
    """

    classes: tuple[str, ...]
    said: str | None = None
    others: tuple[str, ...] | None = None


def order_of_folders(folders: Sequence[str]) -> ClassOrder:
    """The order of the classes, from the names of the class folders alone.

    1. Names that are all whole numbers: as numbers (0, 1, 2, ..., 10).
    2. Other names: as torchvision, Keras and edgetl itself train on class folders, sorted as text.

    What the digits inside names would make of them is `others`, if it differs (c0, c1, c10, c2 and c0, c1, c2, c10; for whole
    numbers the sorting as text): who judges can see from the answers which of the two fits. The order is always said.
    """
    as_text, by_number = tuple(sorted(folders)), tuple(sorted(folders, key=_digits_as_numbers))
    whole = all(name.isdecimal() for name in folders)
    classes, others = (by_number, as_text) if whole else (as_text, by_number)
    how = "the folders' names as numbers" if whole else "the folders' names sorted as text"
    return ClassOrder(
        classes=classes,
        said=f"class order: {listed(classes)} ({how}; --labels FILE says another)",
        others=None if others == classes else others,
    )


def check_width(width: int, classes: Sequence[str], model: str) -> None:
    """Pass if a model with `width` outputs tells these classes apart; one output tells two.

    Raises:
        InputError: it has more, or fewer.
    """
    if width == len(classes) or (width == 1 and len(classes) == 2):
        return
    found = f"found {width} {'output' if width == 1 else 'outputs'} of {model} and {len(classes)} classes ({listed(classes)})"
    todo = (
        f"Name the outputs: --labels FILE with {width} class names, one per line, in the order of the outputs"
        if width > len(classes)
        else "Give images of the model's classes only, or a model of these classes"
    )
    raise InputError(f"expected as many outputs as classes, {found}. {todo}")


def columns_of(wanted: Sequence[str], given: Sequence[str], model: str) -> tuple[int, ...] | None:
    """Of each wanted class, the place of its output in a model whose outputs are `given`; None where the orders are the same.

    Raises:
        InputError: they are not the same classes.
    """
    if tuple(wanted) == tuple(given):
        return None
    if sorted(wanted) != sorted(given):
        raise InputError(
            f"expected {model} to have the same {len(wanted)} classes ({listed(wanted)}), found {len(given)} ({listed(given)}). "
            "Compare models of the same classes"
        )
    return tuple(given.index(name) for name in wanted)


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - SHOWN_CLASSES
    return ", ".join(names[:SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")


def _digits_as_numbers(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts runs of digits by their number."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
