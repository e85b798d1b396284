"""Classify images with a bundle or a bare ONNX file: what `edgetl predict` asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.read import MANIFEST, is_bundle, open_bundle
from edgetl.core.errors import InputError, listing
from edgetl.core.misfit import example_for, refuse_misfit
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say, track
from edgetl.core.threads import in_threads
from edgetl.data import files
from edgetl.data.survey import surveyed_files
from edgetl.runtime.cpu import cpu_name, saturates_here
from edgetl.runtime.foreign.read import read_runnable
from edgetl.runtime.latency import sample
from edgetl.runtime.onnx_metadata import TARGET, info_of, read_info
from edgetl.runtime.session import Session, open_graph, open_session
from edgetl.tasks.class_order import check_width
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Meaning, in_words, meaning_of

TOP = 5
NOISE = 4  # images of it
NOT_FINITE = "gives NaN or infinity for it, which is no answer"
BATCH_IMAGES = 32  # images of one onnxruntime call; twice as many are in memory


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one image; confidences are in [0, 1] (`edgetl.tasks.meaning`).

    Attributes:
        top: the most likely classes, best first, with their confidences.
        decision: the answer, or "unknown" where the bundle's decision rule finds its confidence too low.
        error: why there is no answer; None where there is one.
    """

    path: Path
    answer: str | None = None
    confidence: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    decision: str | None = None
    error: str | None = None


ReadInput = NDArray[np.float32] | str  # an image as the network takes it, or why there is none


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model that is ready to be asked; `open_classifier` makes one."""

    session: Session
    preprocess: Preprocess
    task: Classification
    rule: DecisionRule | None = None

    def suited(self, paths: Sequence[Path]) -> Classifier:
        """A classifier with the Preprocess adapted to these files (16-bit depth); the change is reported.

        Raises:
            InputError: color files of 16 bits of which nearly nothing can be seen.
        """
        return replace(self, preprocess=surveyed_files(paths, self.preprocess))

    def answers(self, paths: Sequence[Path], top_k: int = TOP) -> Iterator[Prediction]:
        """The answer for each image file, in order, or why there is none; `BATCH_IMAGES` images are decoded while others are answered."""
        images = in_threads(self.read, paths, ahead=BATCH_IMAGES)
        with track("predict", total=len(paths), unit="image") as bar:
            for start in range(0, len(paths), BATCH_IMAGES):
                chunk = paths[start : start + BATCH_IMAGES]
                for prediction in self._answered(chunk, list(islice(images, len(chunk))), top_k):
                    bar.advance()
                    yield prediction

    def ask(self, path: Path) -> Prediction:
        """The answer for one image file, or why there is none."""
        return next(self._answered([path], [self.read(path)], TOP))

    def read(self, path: Path) -> ReadInput:
        """The image at `path` as float32 [channels, height, width], or why there is none."""
        try:
            return self.preprocess(files.FileSource(root=Path()).read(str(path)))
        except InputError as error:
            return str(error)

    def _answered(self, paths: Sequence[Path], images: Sequence[ReadInput], top_k: int) -> Iterator[Prediction]:
        readable = [image for image in images if not isinstance(image, str)]
        outputs = iter(self.session.compute(np.stack(readable)) if readable else ())
        for path, image in zip(paths, images, strict=True):
            yield Prediction(path=path, error=image) if isinstance(image, str) else self._prediction(path, next(outputs), top_k)

    def _prediction(self, path: Path, outputs: NDArray[np.float32], top_k: int) -> Prediction:
        if not np.isfinite(outputs).all():
            return Prediction(path=path, error=f"{self.session.name} {NOT_FINITE}")
        confidences = self.task.confidences(outputs[np.newaxis], self.rule.temperature if self.rule else 1.0)[0]
        best = np.argsort(-confidences, kind="stable")[:top_k]
        top = tuple((self.task.classes[i], float(confidences[i])) for i in best)
        answer, confidence = top[0]
        decision = self.rule.decide(answer, confidence) if self.rule else answer
        return Prediction(path=path, answer=answer, confidence=confidence, top=top, decision=decision)


def open_classifier(model: Path, *, preprocess: Preprocess | None = None, output: str | None = None, threads: int = 1) -> Classifier:
    """The classifier in a bundle's folder, or in an ONNX file that carries its metadata.

    Args:
        model: a bundle, whose files are compared with its manifest first, or an ONNX file.
        preprocess: for an ONNX file that does not say how images are prepared.
        output: the one that answers, of an ONNX file with several.
        threads: of onnxruntime.

    Raises:
        InputError: neither of them, files of the bundle that changed, no Preprocess known, or not as many outputs as classes.
    """
    if is_bundle(model):
        bundle = open_bundle(model)
        _warn_if_saturated(bundle.model)
        session, manifest = open_session(bundle.model, threads=threads), bundle.manifest
        classifier = _classifier(session, manifest.preprocess, manifest.classes, manifest.outputs[0].kind)
        return replace(classifier, rule=manifest.decision)
    if not model.is_file():
        instead = "a folder that is no bundle" if model.is_dir() else "nothing there"
        raise InputError(f"expected a bundle (a folder with {MANIFEST}) or an ONNX file at {model}, found {instead}")
    found = read_runnable(model)
    found.tell()
    info, session = info_of(found.model, model.name), open_graph(found.model, name=model.name, threads=threads, output=output)
    _warn_if_saturated(model)
    known = info.preprocess or preprocess
    if known is None:
        raise InputError(
            f"expected {model.name} to contain the preprocessing of its images, found none. Give it with --preprocess FILE|imagenet. "
            f"A FILE for this model contains {example_for(session.input_shape)}, with the size, mean and std that it was trained with"
        )
    refuse_misfit(known, session.input_shape, model.name)
    return _classifier(session, known, info.classes)


def _classifier(session: Session, preprocess: Preprocess, classes: tuple[str, ...] | None, meaning: Meaning | None = None) -> Classifier:
    """Run the model on noise to learn what the file does not say: the number of outputs and their meaning."""
    noise = np.repeat(sample(session, preprocess.shape), NOISE, axis=0)
    noise *= np.linspace(0, 1, NOISE, dtype=np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
    outputs = session.compute(noise)
    width = outputs.shape[1]
    names = classes or tuple(str(index) for index in range(max(2, width)))  # one output tells two classes apart
    check_width(width, names, session.name)
    task = Classification(classes=names, meaning=meaning or meaning_of(outputs, session.activation))
    if task.meaning not in ("logits", "probabilities", "log_probabilities"):
        say(f"outputs of {session.name}: {in_words(task.meaning)}")
    return Classifier(session=session, preprocess=preprocess, task=task)


def _warn_if_saturated(model: Path) -> None:
    """Warn once if this CPU saturates and the target of the file does not."""
    if not saturates_here():
        return  # what follows would take half a second to import
    from edgetl.quantization.candidates.unsaturated import made_for_others

    if made_for_others(model):
        target = read_info(model).extra[TARGET]
        say(
            f"warning: {model.name} is made for {target}. int8 sums saturate on this CPU ({cpu_name()}), so its answers here differ from "
            f"those on {target}. On this CPU use a model made with --target portable"
        )


def predict(model: Path, paths: Sequence[Path], *, preprocess: Preprocess | None = None, top_k: int = TOP) -> Iterator[Prediction]:
    """The answer for each image: files as given, folders recursively in sorted order. Unreadable files are reported and passed over.

    Raises:
        InputError: as `open_classifier`; paths that do not exist, or no image in all of them. Before the first answer.
    """
    classifier, found = open_classifier(model, preprocess=preprocess), find_pictures(paths)
    return classifier.suited(found).answers(found, top_k)


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Files as given (whatever their suffix), and the image files in folders and below, sorted; hidden ones are left out.

    Raises:
        InputError: paths that do not exist, folders that cannot be read (all named), or no image in all of them.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"expected image files or folders, found nothing at:\n{listing(missing)}")
    found = [(path, files.find_images(path)) for path in paths if path.is_dir()]
    if unreadable := [problem for _, inside in found for problem in inside.unreadable]:
        raise InputError(f"expected folders that can be read, found:\n{listing(unreadable)}\nChange their permissions, or leave them out")
    for path, inside in found:
        files.tell_left_out(path.resolve().name or str(path), path, [inside])
    below = {path: sorted(inside.images, key=lambda image: image.as_posix()) for path, inside in found}
    images = [image for path in paths for image in below.get(path, [path])]
    if not images:
        raise InputError(f"expected images ({', '.join(sorted(files.IMAGE_SUFFIXES))}), found none in:\n{listing(list(paths))}")
    return images
