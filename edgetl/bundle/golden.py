"""Golden vectors: images, the inputs they become and the outputs of both graphs. An app that reproduces them embeds the model right.

    golden/golden.json      files, answers and tolerances
    golden/00.jpg           the bytes of an image, as they were
    golden/00.decoded.npy   uint8 [height, width, channels]: upright, in the network's colors (not of very large pictures)
    golden/00.resized.npy   uint8 [height, width, channels] at the network's size: what model.image.onnx takes
    golden/00.input.npy     float32 [1, channels, height, width]
    golden/00.output.npy    what model.onnx gives for that input, float32 [1, k]
    golden/00.float.npy     what model.float.onnx gives for it

An output agrees if |found - golden| <= abs + rel * |golden|. For an int8 graph that ends in a DequantizeLinear, abs is a
number of its output steps: fused and unfused int8 kernels differ by one step at most, and builds for other processors are given one more.
Another runtime rounds each layer otherwise. Where that makes more than these steps, abs follows from what rounding costs: the root mean
square by which model.onnx differs from model.float.onnx, as often as ROUNDINGS says; that of a drawn picture, which no model knows, is
left out: there int8 clips what it never saw, in every runtime alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from edgetl.bundle.client import FULL_DECODE_LEVELS, PIXEL_LEVELS
from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.golden_answers import decision_of_equals, golden_decision, likeliest
from edgetl.bundle.golden_stages import StageTolerance, tolerances, write_stages
from edgetl.bundle.graph import output_step, quantizes_activations
from edgetl.bundle.image_graph import MODEL
from edgetl.bundle.shown_mistakes import not_drawn, showing_mistakes
from edgetl.core.compact_json import compact_json
from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.core.misfit import refuse_misfit
from edgetl.core.preprocess import Preprocess
from edgetl.quantization.candidates.unsaturated import judged_file
from edgetl.runtime.outputs import require_finite
from edgetl.runtime.session import Session, open_session
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import THRESHOLDS, Meaning

FOLDER, INDEX = "golden", "golden.json"
FLOAT_MODEL = "model.float.onnx"
STEPS = 2
FLOAT_SHARE = 1e-4  # of the largest golden output: sums in another order
FLOAT_REL = 1e-3
UNEVEN_SHARE, MOST_SHARE = 0.02, 0.05  # of the largest golden output, where an int8 graph ends in float operators: at least, at most
ROUNDINGS = 4  # two that are independent differ by sqrt(2) times one of them; 2.8 standard deviations of that


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """|found - golden| <= abs + rel * |golden|; where `steps` is given, abs is that many output steps of size `step`."""

    abs: float
    rel: float
    steps: int | None = None
    step: float | None = None

    def holds(self, found: NDArray[np.float32], golden: NDArray[np.float32]) -> bool:
        """Whether every output agrees, float32 [n, k] both."""
        return bool(np.all(np.abs(found - golden) <= self.abs + self.rel * np.abs(golden)))

    def decides(self, golden: NDArray[np.float32], kind: Meaning = "logits") -> bool:
        """Whether the first of the outputs [1, k] leads by more than the tolerance allows it to lose."""
        top, may_lose = np.sort(golden.reshape(-1))[-2:], self.abs + self.rel * float(np.abs(golden).max())
        if len(top) < 2:  # one output, compared with a threshold
            return bool(abs(top[0] - THRESHOLDS.get(kind, 0.0)) > may_lose)
        return bool(top[1] - top[0] > 2 * may_lose)


@dataclass(frozen=True, kw_only=True)
class GoldenImage:
    """One image: file names inside golden/, and what each graph answers."""

    image: str
    input: str
    outputs: Mapping[str, str]  # graph -> file
    answers: Mapping[str, str]  # graph -> class
    stages: Mapping[str, str] = field(default_factory=dict)  # step -> file, from "file" to "logits"
    top: tuple[tuple[str, float], ...] = ()  # the likeliest classes of model.onnx with their confidences
    decision: str | None = None  # that of model.onnx: a class, or "unknown"; None where rounding decides


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The whole of golden.json.

    Attributes:
        pixel_levels: how far a pixel of the input may be off, in units of 1/255 before `mean` and `std`.
        full_decode_levels: the same where a port decodes a JPEG in full that edgetl decodes at reduced size.
        kind: what the outputs mean (`edgetl.tasks.meaning`); both graphs are read alike.
        stages: how far each step may be off, and why (`golden_stages`); empty in bundles of earlier versions.
        temperature: what logits are divided by before they become probabilities.
        decision_of_equals: the decision where all classes have the same confidence; None where it does not matter.
    """

    images: tuple[GoldenImage, ...]
    tolerances: Mapping[str, Tolerance]
    pixel_levels: float = PIXEL_LEVELS
    kind: Meaning = "logits"
    stages: Mapping[str, StageTolerance] = field(default_factory=dict)
    temperature: float = 1.0
    full_decode_levels: float = FULL_DECODE_LEVELS
    decision_of_equals: str | None = None


def write_golden(
    folder: Path,
    images: Sequence[tuple[bytes, str]],
    preprocess: Preprocess,
    models: Mapping[str, Path],
    classes: Sequence[str],
    rule: DecisionRule | None = None,
) -> Golden:
    """Write `folder/golden/`.

    Args:
        folder: of the bundle.
        images: the bytes of image files, each with the suffix of its name (".jpg"); a drawn one joins where they hide mistakes.
        preprocess: from those bytes to inputs.
        models: file name in the bundle ("model.onnx", "model.float.onnx") -> that graph.
        classes: in the order of the outputs.
        rule: how outputs become an answer or "unknown".

    Raises:
        InputError: no images, one that cannot be decoded, or a graph that cannot be run.
        NotFinite: a graph that gives NaN or infinity.
    """
    if not images:
        raise InputError("expected at least one image for the golden vectors, found none")
    (folder / FOLDER).mkdir()
    images = showing_mistakes(images, preprocess)
    for path in models.values():
        refuse_misfit(preprocess, open_session(path).input_shape, path.name)
    inputs = np.stack([preprocess(data) for data, _ in images])
    outputs = {name: _one_by_one(path, inputs) for name, path in models.items()}
    task = Classification(classes=tuple(classes)).reading(outputs[FLOAT_MODEL], open_session(models[FLOAT_MODEL]).activation)
    answers, temperature = {name: task.answers(rows) for name, rows in outputs.items()}, rule.temperature if rule else 1.0
    confidences = task.confidences(outputs[MODEL], temperature)
    entries = []
    for index, (data, suffix) in enumerate(images):
        names = _Names.of(index, suffix)
        names.write(folder / FOLDER, data, inputs[index], {name: rows[index] for name, rows in outputs.items()})
        steps = write_stages(folder / FOLDER, names.stem, data, preprocess)
        entry = names.entry({name: classes[rows[index]] for name, rows in answers.items()}, steps)
        decided = golden_decision(entry.answers[MODEL], confidences[index], rule)
        entries.append(replace(entry, top=likeliest(confidences[index], classes), decision=decided))
    own = not_drawn([data for data, _ in images], preprocess)
    allowed = {name: _tolerance(path, outputs[name][own], outputs[FLOAT_MODEL][own]) for name, path in models.items()}
    golden = Golden(
        images=tuple(entries),
        tolerances=allowed,
        kind=task.meaning,
        stages=_stages(inputs, outputs[MODEL], allowed[MODEL], task.meaning, temperature),
        temperature=temperature,
        decision_of_equals=decision_of_equals(len(classes), rule),
    )
    write_whole(folder / FOLDER / INDEX, compact_json(asdict(golden)) + "\n")
    return golden


@dataclass(frozen=True)
class _Names:
    """The file names of one golden image."""

    stem: str
    suffix: str

    @staticmethod
    def of(index: int, suffix: str) -> _Names:
        plain = suffix.lower()
        return _Names(f"{index:02d}", plain if re.fullmatch(r"\.[a-z0-9]{1,8}", plain) else ".img")

    def output(self, model: str) -> str:
        return f"{self.stem}.{'float' if model == FLOAT_MODEL else 'output'}.npy"

    def entry(self, answers: Mapping[str, str], steps: Mapping[str, str]) -> GoldenImage:
        outputs, image, tensor = {model: self.output(model) for model in answers}, self.stem + self.suffix, f"{self.stem}.input.npy"
        stages = {"file": image, **steps, "input": tensor, "logits": outputs[MODEL]}
        return GoldenImage(image=image, input=tensor, outputs=outputs, answers=answers, stages=stages)

    def write(self, folder: Path, data: bytes, tensor: NDArray[np.float32], outputs: Mapping[str, NDArray[np.float32]]) -> None:
        (folder / (self.stem + self.suffix)).write_bytes(data)
        np.save(folder / f"{self.stem}.input.npy", tensor[None])
        for model, row in outputs.items():
            np.save(folder / self.output(model), row[None])


def _stages(
    inputs: NDArray[np.float32], outputs: NDArray[np.float32], allowed: Tolerance, kind: Meaning, temperature: float
) -> dict[str, StageTolerance]:
    rounding = f"other runtimes round each layer otherwise: {ROUNDINGS} times what rounding costs here, 2 to 5% of the largest"
    why = rounding if allowed.rel == 0 else "sums in another order"
    why = f"{allowed.steps} output steps: int8 kernels for other CPUs differ by so much" if allowed.steps else why
    return tolerances(inputs, (allowed.abs, allowed.rel), float(np.abs(outputs).max()), kind, temperature, why)


def judging(path: Path) -> Session:
    """The file's session; that of its exact form where this CPU would saturate it: golden vectors are of the target's CPU."""
    with judged_file(path) as file:
        return open_session(file)


def _one_by_one(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs float32 [n, k], one image at a time as an app asks: kernels for larger batches may add in another order."""
    session = judging(path)
    outputs = np.concatenate([session.compute(inputs[i : i + 1]) for i in range(len(inputs))])
    require_finite(outputs, path.name)
    return outputs


def _tolerance(path: Path, outputs: NDArray[np.float32], unrounded: NDArray[np.float32]) -> Tolerance:
    largest = max(1.0, float(np.abs(outputs).max()))
    if not quantizes_activations(path):
        return Tolerance(abs=FLOAT_SHARE * largest, rel=FLOAT_REL)
    rounding = min(ROUNDINGS * float(np.sqrt(np.mean((outputs.astype(np.float64) - unrounded) ** 2))), MOST_SHARE * largest)
    step = output_step(path)
    if step is None:
        return Tolerance(abs=max(UNEVEN_SHARE * largest, rounding), rel=0.0)
    if rounding > STEPS * step:
        return Tolerance(abs=rounding, rel=0.0)
    return Tolerance(abs=STEPS * step, rel=1e-5, steps=STEPS, step=step)


@cache
def _adapter() -> TypeAdapter[Golden]:
    return TypeAdapter(Golden)


def read_golden(folder: Path) -> Golden:
    """The index of the golden vectors in a bundle's folder.

    Raises:
        InputError: there is none, or it is not one that edgetl wrote.
    """
    path = folder / FOLDER / INDEX
    try:
        return _adapter().validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise InputError(
            f"expected the index of golden vectors at {path}, found other content: {error}. Export the bundle again"
        ) from error
