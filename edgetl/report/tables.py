"""Tables of the page by class: scores of each class, and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from edgetl.report import figures, text, units
from edgetl.report.schema import ClassScores, ModelReport, Report

MOST_CELLS = 24  # classes of a matrix that is written out; a larger one is drawn
WORST = 10  # classes, and confusions, that are shown first
Pair = tuple[str, str, int]  # true class, answer, images


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class: its scores, its most frequent confusions, and the F1 of the other models.

    `answered` is how often it was answered; None where nobody counted.
    """

    scores: ClassScores
    answered: int | None
    taken_for: tuple[tuple[str, int], ...]
    others: tuple[float, ...]

    @property
    def precision(self) -> str:
        """Precision in percent; counts for few images, or a note that there were none."""
        if self.answered is None:
            return f"{100 * self.scores.precision:.1f}"
        return _short(round(self.scores.precision * self.answered), self.answered) if self.answered else "never answered"

    @property
    def recall(self) -> str:
        """Recall in percent; counts for few images."""
        support = self.scores.support
        return _short(round(self.scores.recall * support), support) if support else units.NO_VALUE


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Every class, the weakest first: F1 of `label`, then recall, then the order of the outputs; classes without images last."""

    label: str
    others: tuple[str, ...]
    rows: tuple[ClassRow, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Images with one true class and one answer, and their share of the true class in [0, 1]."""

    images: int
    share: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """One model's confusion matrix, as cells or, for many classes, as a drawing, and its most frequent confusions."""

    label: str
    ships: bool
    cells: tuple[tuple[Cell, ...], ...] | None
    drawing: Markup | None
    worst: tuple[Pair, ...]
    kinds: int  # how many different confusions there are


def class_table(report: Report) -> ClassTable | None:
    """What ships in full (the last model where it was not given), the others beside it."""
    rated = {label: model for _, label, model in text.chart_models(report) if model.per_class}
    if not rated:
        return None
    shipped = text.shipped_chart_label(report)
    main = shipped if shipped in rated else list(rated)[-1]
    others = tuple(label for label in rated if label != main)
    model, classes = rated[main], report.data.classes
    rows = [
        ClassRow(
            scores=row,
            answered=text.answered(model, index),
            taken_for=_taken_for(model, index, classes),
            others=tuple(_f1(rated[label], index) for label in others),
        )
        for index, row in enumerate(model.per_class or ())
    ]
    return ClassTable(
        label=main, others=others, rows=tuple(sorted(rows, key=lambda row: (row.scores.support == 0, row.scores.f1, row.scores.recall)))
    )


def _short(part: int, images: int) -> str:
    """As `units.share_of`, without the percent sign."""
    return units.share_of(part, images).removesuffix("%")


def confusions(report: Report) -> list[Confusions]:
    """What ships first; models that answered alike share a matrix, as a student and its float ONNX do."""
    shipped, classes = text.shipped_chart_label(report), report.data.classes
    alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for _, label, model in text.chart_models(report):
        if model.confusion:
            alike.setdefault(model.confusion, []).append(label)
    found = [_confusions(labels, np.array(matrix), classes, ships=shipped in labels) for matrix, labels in alike.items()]
    return sorted(found, key=lambda one: not one.ships)


def _confusions(labels: Sequence[str], matrix: NDArray[np.int64], classes: Sequence[str], *, ships: bool) -> Confusions:
    few, wrong = len(classes) <= MOST_CELLS, matrix.copy()
    np.fill_diagonal(wrong, 0)
    return Confusions(
        label=", ".join(labels),
        ships=ships,
        cells=_cells(matrix) if few else None,
        drawing=None if few else Markup(figures.svg(figures.confusion_figure(matrix))),  # matplotlib escapes its text
        worst=_largest(wrong, classes, WORST),
        kinds=int((wrong > 0).sum()),
    )


def _cells(matrix: NDArray[np.int64]) -> tuple[tuple[Cell, ...], ...]:
    shares = figures.shares(matrix)
    return tuple(
        tuple(Cell(images=int(n), share=float(shares[r, c]), right=r == c) for c, n in enumerate(row)) for r, row in enumerate(matrix)
    )


def _largest(wrong: NDArray[np.int64], classes: Sequence[str], count: int) -> tuple[Pair, ...]:
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    places = [divmod(int(place), wrong.shape[1]) for place in order]
    return tuple((classes[row], classes[column], int(wrong[row, column])) for row, column in places if wrong[row, column])


def _taken_for(model: ModelReport, index: int, classes: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The class that images of this one are most often taken for, if they are: at most one."""
    if model.confusion is None:
        return ()
    wrong = np.array(model.confusion[index])
    wrong[index] = 0
    worst = int(wrong.argmax())
    return ((classes[worst], int(wrong[worst])),) if wrong[worst] else ()


def _f1(model: ModelReport, index: int) -> float:
    assert model.per_class
    return model.per_class[index].f1
