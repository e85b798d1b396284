"""Image by image: what each model answered (`predictions.csv`), and the few images that a person should look at (`gallery.json`)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from edgetl.core.errors import InputError
from edgetl.report.numbers import plain
from edgetl.report.schema import MODEL_NAMES
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Meaning

Outputs = NDArray[np.float32]
REPORT, PREDICTIONS, GALLERY, THUMBNAILS = "report.json", "predictions.csv", "gallery.json", "thumbnails"  # what a judge leaves
LISTED_IMAGES = 12  # images that each part of the gallery names where no thumbnails are wanted


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of one model to one image, with its confidence in [0, 1] (`edgetl.tasks.meaning`)."""

    name: str
    confidence: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """One image that a person should look at.

    Attributes:
        file: where it lay when it was judged; None for the rows of an .npz.
        truth: its class.
        answers: model name (those of `report.json`) -> what it said.
        thumbnail: the name of its small picture, if there is one.
    """

    sha256: str
    file: str | None
    truth: str
    answers: Mapping[str, Answer]
    thumbnail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The most informative images about the shipped model, the worst first.

    Attributes:
        judged: images in all.
        shipped: the model (its name in `report.json`) that the mistakes are those of.
        mistakes: its wrong answers, the most confident ones first; `mistakes_in_all` counts those left out too.
        pair: the two models whose answers differ in `differences`: reference, candidate.
        differences: first where the candidate lost an answer that the reference had right; None where there are no two models.
    """

    judged: int
    shipped: str
    mistakes: tuple[ShownImage, ...]
    mistakes_in_all: int
    pair: tuple[str, str] | None = None
    differences: tuple[ShownImage, ...] = ()
    differences_in_all: int = 0

    def to_text(self) -> str:
        """The text of `gallery.json`."""
        return json.dumps(plain(self), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_text(text: str) -> Gallery:
        """The value that `to_text` wrote.

        Raises:
            InputError: something else.
        """
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            raise InputError(f"expected the example images of a report, found other content: {error}") from error


@cache
def _adapter() -> TypeAdapter[Gallery]:
    return TypeAdapter(Gallery)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Every model's answer to every image.

    Attributes:
        hashes: sha256 of each image.
        files: where each image lies, for people; None where they lie nowhere (the rows of an .npz).
        labels: int64 [n], the true classes.
        outputs: model name -> what it gives, [n, k].
        shipped: the name of the model that ships.
        meanings: of the outputs; logits where it is not said.
    """

    task: Classification
    hashes: Sequence[str]
    files: Sequence[str] | None
    labels: NDArray[np.int64]
    outputs: Mapping[str, Outputs]
    shipped: str
    meanings: Mapping[str, Meaning] = field(default_factory=dict)

    @cached_property
    def said(self) -> dict[str, tuple[Answer, ...]]:
        """Model name, in the order of `report.json` -> its answer to each image."""
        return {name: self._told(name) for name in MODEL_NAMES if name in self.outputs}

    def csv_text(self) -> str:
        """`predictions.csv`: sha256, file, class, then answer and confidence of each model, in the order of the images."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["sha256", "file", "class", *(f"{name}_{what}" for name in self.said for what in ("answer", "confidence"))])
        for row, sha in enumerate(self.hashes):
            said = [cell for answers in self.said.values() for cell in (answers[row].name, f"{answers[row].confidence:.6f}")]
            writer.writerow([sha, self._file(row) or "", self.task.classes[self.labels[row]], *said])
        return stream.getvalue()

    def gallery(self, count: int) -> Gallery:
        """The `count` worst mistakes of the shipped model, and as many images on which int8 and float differ."""
        wrong = self._worst(~self._right(self.shipped), self.shipped)
        pair = self._pair()
        differ = self._differing(*pair) if pair else []
        return Gallery(
            judged=len(self.hashes),
            shipped=self.shipped,
            mistakes=tuple(self._shown(row) for row in wrong[:count]),
            mistakes_in_all=len(wrong),
            pair=pair,
            differences=tuple(self._shown(row) for row in differ[:count]),
            differences_in_all=len(differ),
        )

    def _pair(self) -> tuple[str, str] | None:
        """Float and int8 if both were judged, else the reference and the shipped model."""
        pairs = (("onnx_float", "onnx_int8"), ("teacher", self.shipped))
        return next((pair for pair in pairs if {*pair} <= self.outputs.keys()), None)

    def _differing(self, reference: str, candidate: str) -> list[int]:
        """Rows with two answers: first those that the candidate lost, then those it gained, then those that both have wrong."""
        before, after = self._right(reference), self._right(candidate)
        differ = self._answers(reference) != self._answers(candidate)
        kinds = (before, after, ~(before | after))
        return [row for kind in kinds for row in self._worst(differ & kind, candidate)]

    def _worst(self, chosen: NDArray[np.bool_], name: str) -> list[int]:
        """The chosen rows, those first of which the model is surest; equals in the order of their hashes."""
        surest = self._confidences(name)
        return sorted(map(int, np.flatnonzero(chosen)), key=lambda row: (-surest[row], self.hashes[row]))

    def _shown(self, row: int) -> ShownImage:
        return ShownImage(
            sha256=self.hashes[row],
            file=self._file(row),
            truth=self.task.classes[self.labels[row]],
            answers={name: answers[row] for name, answers in self.said.items()},
        )

    def _file(self, row: int) -> str | None:
        """A name as UTF-8 can hold it: file names may be any bytes."""
        return None if self.files is None else self.files[row].encode("utf-8", "backslashreplace").decode()

    def _answers(self, name: str) -> NDArray[np.int64]:
        return self._task(name).answers(self.outputs[name])

    def _right(self, name: str) -> NDArray[np.bool_]:
        return self._task(name).correct(self.outputs[name], self.labels)

    def _task(self, name: str) -> Classification:
        return self.task.of_model(name, self.meanings)

    def _confidences(self, name: str) -> NDArray[np.float32]:
        best: NDArray[np.float32] = self._task(name).confidences(self.outputs[name]).max(axis=1)
        return best

    def _told(self, name: str) -> tuple[Answer, ...]:
        columns = zip(self._answers(name), self._confidences(name), self._right(name), strict=True)
        return tuple(Answer(name=self.task.classes[a], confidence=round(float(c), 6), right=bool(r)) for a, c, r in columns)
