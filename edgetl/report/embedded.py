"""The graphs of the bundle that take pixels, or pictures of any size, on the test images. Part of `report.json`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.data.images import Images
from edgetl.report.numbers import Count, Exact, Finite, Share
from edgetl.tasks.classification import Classification

MOST_IMAGES = 1000  # more tell nothing new of graphs that answer like one that is judged on all


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel(Exact):
    """One of these graphs on test images, and the shipped graph on the same.

    Attributes:
        images: how many; evenly spread over the test part where that has more than a thousand.
        score: of this graph on them, `shipped_score` that of model.onnx.
        agreement: the share of them to which both give the same answer.
        max_abs_diff: the largest difference of two logits; 0 where they are the same bit for bit.
    """

    images: Count
    score: Share
    shipped_score: Share
    agreement: Share
    max_abs_diff: Finite


@dataclass(frozen=True, kw_only=True)
class Embedded(Exact):
    """`model.image.onnx` and `model.anysize.onnx`; None of one that the bundle does not have."""

    image: EmbeddedModel | None
    anysize: EmbeddedModel | None


def embedded_report(
    folder: Path, preprocess: Preprocess, images: Images, task: Classification, shipped: NDArray[np.float32], labels: NDArray[np.int64]
) -> Embedded:
    """Run both on test images.

    Args:
        folder: of the bundle.
        preprocess: of its images.
        images: the test images.
        task: what outputs mean.
        shipped: what model.onnx gives for them, [n, k].
        labels: [n].
    """
    from edgetl.bundle.image_graph import ANY_SIZE_MODEL, IMAGE, IMAGE_MODEL, LOGITS  # onnxruntime, which a page does without

    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).round().astype(np.int64))
    readers = {IMAGE_MODEL: preprocess.pixels, ANY_SIZE_MODEL: preprocess.picture}
    found: dict[str, EmbeddedModel | None] = dict.fromkeys(readers)
    for name, reader in readers.items():
        if not (folder / name).is_file():
            continue
        with _engine(folder / name) as engine, track(f"run {name}", len(rows), "image") as bar:
            outputs = []
            for row in rows:
                outputs.append(engine.run([LOGITS], {IMAGE: reader(images.read(int(row)))[None]})[0][0])
                bar.advance()
        found[name] = _compared(task, np.stack(outputs), shipped[rows], labels[rows])
    return Embedded(image=found[IMAGE_MODEL], anysize=found[ANY_SIZE_MODEL])


@contextmanager
def _engine(path: Path) -> Iterator[Any]:
    """The session of a graph, by exact arithmetic where this CPU would saturate it."""
    from edgetl.quantization.candidates.unsaturated import judged_file
    from edgetl.runtime.engine import start

    with judged_file(path) as file:
        yield start(file)


def _compared(task: Classification, outputs: NDArray[np.float32], shipped: NDArray[np.float32], labels: NDArray[np.int64]) -> EmbeddedModel:
    return EmbeddedModel(
        images=len(labels),
        score=task.score(outputs, labels),
        shipped_score=task.score(shipped, labels),
        agreement=float((task.answers(outputs) == task.answers(shipped)).mean()),
        max_abs_diff=float(np.abs(outputs - shipped).max()),
    )


def embedded_words(found: Embedded) -> list[str]:
    """The same in sentences."""
    named = {"model.image.onnx, which takes pixels,": found.image, "model.anysize.onnx, which takes any picture,": found.anysize}
    return [
        f"{name} scores {100 * model.score:.1f}% on {model.images:,} test images (model.onnx: {100 * model.shipped_score:.1f}%) and "
        f"gives the same answer on {100 * model.agreement:.1f}% of them{', with the same logits' if model.max_abs_diff == 0 else ''}."
        for name, model in named.items()
        if model is not None
    ]
