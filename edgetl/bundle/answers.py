"""Predictions as CSV, JSON, or lines on the screen. Each writer yields what it has written, so that writers can be chained."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from edgetl.bundle.predict import NOT_FINITE, Prediction

MOST_CULPRITS = 20
WILD = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, bytes that are no UTF-8, separators of lines
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn the direction of what follows


def columns(top_k: int) -> tuple[str, ...]:
    """The columns of the CSV: path, answer, confidence, then answer_2, confidence_2 and so on up to `top_k`, then error and decision."""
    return (
        "path",
        "answer",
        "confidence",
        *(f"{name}_{n}" for n in range(2, top_k + 1) for name in ("answer", "confidence")),
        "error",
        "decision",
    )


def to_csv(predictions: Iterable[Prediction], stream: TextIO, top_k: int) -> Iterator[Prediction]:
    """Write a header, then a row for each prediction; unknown fields are empty. Confidences have six digits."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns(top_k))
    for p in predictions:
        cells = [cell for name, confidence in p.top[:top_k] for cell in (name, f"{confidence:.6f}")]
        writer.writerow([p.path.as_posix(), *cells, *[""] * (2 * top_k - len(cells)), p.error or "", p.decision or ""])
        yield p


def to_json(predictions: Iterable[Prediction], stream: TextIO, top_k: int) -> Iterator[Prediction]:
    """Write one array with an object for each, a line each."""
    ascii_only = (stream.encoding or "ascii").lower().replace("-", "") != "utf8"  # escapes that JSON knows, where names do not fit
    before = "[\n"
    for p in predictions:
        facts = {
            "path": p.path.as_posix(),
            "answer": p.answer,
            "confidence": p.confidence,
            "top": [list(pair) for pair in p.top[:top_k]],
            "error": p.error,
            "decision": p.decision,
        }
        stream.write(before + json.dumps(facts, ensure_ascii=ascii_only))
        before = ",\n"
        yield p
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def to_lines(predictions: Iterable[Prediction], stream: TextIO, top_k: int) -> Iterator[Prediction]:
    """Write path, answer and confidence with tabs between, for `top_k` answers, and the decision where it is not the answer.

    Control characters in names are escaped.
    """
    for p in predictions:
        said = [cell for name, confidence in p.top[:top_k] for cell in (name, f"{confidence:.4f}")]
        said += [p.decision] if p.decision and p.decision != p.answer else []
        stream.write("\t".join(map(_tame, [str(p.path), *(said if p.error is None else ("error", p.error))])) + "\n")
        yield p


@dataclass
class Tally:
    """Counts of the answers, for the summary."""

    images: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    unknown: int = 0  # of the answers, those that are not sure enough
    unreadable: int = 0
    not_finite: int = 0  # of these, images that the model gives NaN or infinity for
    culprits: list[str] = field(default_factory=list)

    def count(self, predictions: Iterable[Prediction]) -> None:
        """Count the answers and the unreadable images among `predictions`."""
        for p in predictions:
            self.images += 1
            if p.answer is not None:
                self.answers[p.answer] = self.answers.get(p.answer, 0) + 1
                self.unknown += p.decision != p.answer
                continue
            self.unreadable += 1
            self.not_finite += NOT_FINITE in (p.error or "")
            if len(self.culprits) < MOST_CULPRITS:
                self.culprits.append(_tame(f"{p.path}: {p.error}"))

    def commonest(self, count: int) -> list[tuple[str, int]]:
        """The answers given most often, with how often."""
        return sorted(self.answers.items(), key=lambda item: (-item[1], item[0]))[:count]


def _tame(text: str) -> str:
    """The text with its control characters escaped."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in WILD or c in TURNING else c for c in text)
