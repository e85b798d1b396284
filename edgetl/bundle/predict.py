"""Classify pictures with a bundle or a bare ONNX file: what `edgetl predict` does."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgetl.bundle.read import is_bundle, open_bundle
from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import Session, open_session
from edgetl.tasks.classification import Classification

TOP = 5
SUFFIXES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
COLUMNS = ("path", "answer", "confidence", "error")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says about one picture; confidences are softmax probabilities in [0, 1].

    Attributes:
        top: the most likely classes, best first, with their confidences.
        error: why there is no answer; None where there is one.
    """

    path: Path
    answer: str | None = None
    confidence: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model that is ready to be asked; `open_classifier` makes one."""

    session: Session
    preprocess: Preprocess
    task: Classification

    def ask(self, path: Path) -> Prediction:
        """The answer for one image file, or why there is none."""
        try:
            x = self.preprocess(path.read_bytes())[None]
        except (InputError, OSError) as error:
            return Prediction(path=path, error=str(error))
        confidences = self.task.confidences(self.session.run(x))[0]
        best = np.argsort(-confidences, kind="stable")[:TOP]
        top = tuple((self.task.classes[i], float(confidences[i])) for i in best)
        return Prediction(path=path, answer=top[0][0], confidence=top[0][1], top=top)


def open_classifier(model: Path, *, preprocess: Preprocess | None = None) -> Classifier:
    """The classifier in a bundle's folder, or in an ONNX file that carries its metadata.

    Args:
        model: a bundle, whose files are compared with its manifest first, or an ONNX file.
        preprocess: for an ONNX file that does not say how images are prepared.

    Raises:
        InputError: neither of them, files of the bundle that changed, or no Preprocess known.
    """
    if is_bundle(model):
        bundle = open_bundle(model)
        return Classifier(
            session=open_session(bundle.model), preprocess=bundle.manifest.preprocess, task=Classification(classes=bundle.manifest.classes)
        )
    info, session = read_info(model), open_session(model)
    known = info.preprocess or preprocess
    if known is None:
        raise InputError(
            f"expected {model.name} to say how images are prepared, found no Preprocess in it. Give one with --preprocess FILE|imagenet"
        )
    return Classifier(session=session, preprocess=known, task=Classification(classes=info.classes or _numbers(session)))


def predict(model: Path, paths: Sequence[Path], *, preprocess: Preprocess | None = None) -> Iterator[Prediction]:
    """The answer for each picture: files as given, folders recursively in sorted order. Unreadable files are reported and passed over.

    Raises:
        InputError: as `open_classifier`; paths that do not exist, or no image in all of them. Before the first answer.
    """
    classifier, images = open_classifier(model, preprocess=preprocess), find_images(paths)
    return (classifier.ask(path) for path in images)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Files as given (whatever their suffix), and the image files in folders, sorted; hidden ones are left out.

    Raises:
        InputError: paths that do not exist (all named), or no image in all of them.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"expected image files or folders, found nothing at:\n{listing(missing)}")
    images = [image for path in paths for image in (_below(path) if path.is_dir() else [path])]
    if not images:
        raise InputError(f"expected images ({', '.join(sorted(SUFFIXES))}), found none in:\n{listing(list(paths))}")
    return images


def write_csv(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write path, answer, confidence and error of each prediction as a CSV file (UTF-8)."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:  # names need not be UTF-8
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for p in predictions:
            writer.writerow([p.path.as_posix(), p.answer or "", "" if p.confidence is None else f"{p.confidence:.6f}", p.error or ""])


def _below(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    shown = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown, key=lambda path: path.relative_to(folder).as_posix())


def _numbers(session: Session) -> tuple[str, ...]:
    """Names for classes that nobody named."""
    if session.outputs is None:
        raise InputError(f"expected {session.path.name} to say how many classes it knows, found neither labels nor the width of its output")
    return tuple(str(index) for index in range(session.outputs))
