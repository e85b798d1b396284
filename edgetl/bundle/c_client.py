"""clients/c/: the model of a bundle in C99, and a program that checks it against the golden vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.golden import GoldenImage
from edgetl.bundle.graph import quantizes_activations
from edgetl.bundle.image_graph import MODEL
from edgetl.cgen.averages import with_whole_averages
from edgetl.cgen.footprint import Footprint
from edgetl.cgen.write import write_c
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import check_file, save

PLACE = ("clients", "c")


def make_averages_exact(path: Path) -> None:
    """Write the graph at `path` anew if its answer is an average in float, so that C can give the same bits (`cgen.averages`)."""
    model = load_proto(path)
    if (whole := with_whole_averages(model)) is not model:
        save(whole, path)
        check_file(path)
        say(f"export: {path.name} averages whole numbers and scales the result, for --c: the last bits of logits may change")


def write_c_client(
    bundle: Path, preprocess: Preprocess, classes: Sequence[str], decision: DecisionRule | None, golden: Sequence[GoldenImage]
) -> Footprint:
    """Write classifier.h, classifier.c, check.c and footprint.json for the model.onnx of a bundle; what they take.

    Raises:
        InputError: a model in float, an operator that the C code does not have.
    """
    if not quantizes_activations(bundle / MODEL):
        raise InputError(
            "expected an int8 model for --c, found a float model: float sums differ between CPUs. "
            "Leave out --c, or quantize with a --target and a --max-drop with which the int8 model ships"
        )
    folder = bundle.joinpath(*PLACE)
    folder.mkdir(parents=True, exist_ok=True)
    temperature, threshold = (decision.temperature, decision.threshold) if decision else (1.0, None)
    decisions = [_number(image, classes) for image in golden]
    return write_c(load_proto(bundle / MODEL), preprocess, classes, folder, temperature, threshold, decisions)


def _number(image: GoldenImage, classes: Sequence[str]) -> int:
    """The decision as check.c knows it: a class, -1 for unknown, -2 where rounding decides."""
    if image.decision is None:
        return -2
    return classes.index(image.decision) if image.decision == image.answers[MODEL] else -1
