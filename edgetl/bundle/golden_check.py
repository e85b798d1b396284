"""Run the golden vectors of a bundle through its Preprocess and its graphs; each image that disagrees is named with its first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.bundle.golden import FOLDER, Golden, GoldenImage, judging, read_golden
from edgetl.bundle.image_graph import ANY_SIZE_MODEL, IMAGE, IMAGE_MODEL, LOGITS, MODEL, PROBABILITIES
from edgetl.bundle.read import Bundle
from edgetl.quantization.candidates.unsaturated import judged_file
from edgetl.runtime.cpu import saturates_here
from edgetl.runtime.engine import start
from edgetl.runtime.session import Session
from edgetl.tasks.classification import Classification


def check_golden(bundle: Bundle) -> list[str]:
    """Run the golden images through the bundle's Preprocess and graphs; what does not agree, a line each.

    Raises:
        InputError: files that cannot be read, or graphs that cannot be run.
    """
    golden = read_golden(bundle.path)
    sessions = {name: judging(bundle.path / name) for name in golden.tolerances}
    problems = [problem for image in golden.images for problem in _disagreements(bundle, golden, image, sessions)]
    if (engine := _engine(bundle, IMAGE_MODEL)) is not None:
        problems += [problem for image in golden.images for problem in _of_pixels(bundle, golden, image, engine, sessions[MODEL])]
    if (engine := _engine(bundle, ANY_SIZE_MODEL)) is not None:
        problems += [problem for image in golden.images for problem in _of_pictures(bundle, golden, image, engine)]
    if not saturates_here():  # onnxruntime's own format cannot be given another arithmetic
        problems += _of_ort_forms(bundle, golden)
    return problems


def _of_ort_forms(bundle: Bundle, golden: Golden) -> list[str]:
    """Compare the forms for minimal builds with the outputs of model.onnx."""
    problems, folder, allowed = [], bundle.path / FOLDER, golden.tolerances[MODEL]
    for name, step in (("model.ort", "input"), ("model.image.ort", "resized")):
        if not (bundle.path / name).is_file():
            continue
        engine = start(bundle.path / name)
        for image in golden.images:
            given = np.load(folder / image.stages[step])
            found = engine.run(None, {engine.get_inputs()[0].name: given if step == "input" else given[None]})[-1]
            output = np.load(folder / image.outputs[MODEL])
            if not allowed.holds(found.reshape(output.shape), output):
                problems.append(f"{image.image}: {name} is off by {np.abs(found.reshape(output.shape) - output).max():.4g}")
    return problems


def _engine(bundle: Bundle, name: str) -> Any:
    """The onnxruntime session of a graph that reads pixels; None where the bundle has none."""
    if not (bundle.path / name).is_file():
        return None
    with judged_file(bundle.path / name) as file:
        return start(file)


def _disagreements(bundle: Bundle, golden: Golden, image: GoldenImage, sessions: Mapping[str, Session]) -> list[str]:
    folder = bundle.path / FOLDER
    task = Classification(classes=bundle.manifest.classes, meaning=golden.kind)
    expected, problems = np.load(folder / image.input), []
    if (wrong := _first_wrong_step(bundle, golden, image)) is not None:
        problems.append(f"{image.image}: {wrong}")
    for name, session in sessions.items():
        output, tolerance = np.load(folder / image.outputs[name]), golden.tolerances[name]
        found = session.run(expected)
        answer = bundle.manifest.classes[int(task.answers(found)[0])]
        if not tolerance.holds(found, output):
            off = np.abs(found - output).max()
            problems.append(f"{image.image}: {name} is off by {off:.4g}, expected at most {tolerance.abs:.4g} + {tolerance.rel:g} of it")
        if answer != image.answers[name] and tolerance.decides(output, golden.kind):
            problems.append(f"{image.image}: {name} answers {answer}, expected {image.answers[name]}")
    return problems


def _first_wrong_step(bundle: Bundle, golden: Golden, image: GoldenImage) -> str | None:
    """The first step from the file to the input whose result differs from the golden array, in words."""
    folder, preprocess = bundle.path / FOLDER, bundle.manifest.preprocess
    data = (folder / image.image).read_bytes()
    found = {"decoded": preprocess.picture(data), "resized": preprocess.pixels(data)}
    for step, array in found.items():
        if step in image.stages and (wrong := _pixels_off(array, np.load(folder / image.stages[step]), golden.pixel_levels)) is not None:
            return f"its {step} picture {wrong}"
    made, expected = preprocess.normalize(found["resized"])[None], np.load(folder / image.input)
    levels = np.abs(made - expected) * np.array(preprocess.std, dtype=np.float32).reshape(1, -1, 1, 1) * 255
    return (
        f"its input is off by {levels.max():.1f} levels, expected at most {golden.pixel_levels:g}"
        if levels.max() > golden.pixel_levels
        else None
    )


def _pixels_off(found: NDArray[np.uint8], golden: NDArray[np.uint8], allowed: float) -> str | None:
    if found.shape != golden.shape:
        return f"has the shape {list(found.shape)}, expected {list(golden.shape)}"
    off = int(np.abs(found.astype(np.int16) - golden).max())
    return f"is off by {off} levels, expected at most {allowed:g}" if off > allowed else None


def _of_pixels(bundle: Bundle, golden: Golden, image: GoldenImage, engine: Any, model: Session) -> list[str]:
    """Compare model.image.onnx on the resized pixels with model.onnx: the logits must be the same bit for bit on this machine."""
    folder, problems = bundle.path / FOLDER, []
    pixels = np.load(folder / image.stages["resized"])[None]
    probabilities, logits = engine.run([PROBABILITIES, LOGITS], {IMAGE: pixels})
    if not np.array_equal(logits, model.run(np.load(folder / image.input))):
        problems.append(f"{image.image}: {IMAGE_MODEL} gives other logits than {MODEL}")
    named = dict(zip(bundle.manifest.classes, probabilities[0].tolist(), strict=True))
    stage = golden.stages["probabilities"]
    allowed = (stage.abs if stage.graph_abs is None else stage.graph_abs) or 0.0  # bundles of earlier versions have one for both
    for name, expected in image.top:
        if abs(named[name] - expected) > allowed:
            problems.append(f"{image.image}: {IMAGE_MODEL} gives {name} {named[name]:.6f}, expected {expected:.6f} within {allowed:.2g}")
    return problems


def _of_pictures(bundle: Bundle, golden: Golden, image: GoldenImage, engine: Any) -> list[str]:
    """Compare the class that model.anysize.onnx gives to the decoded picture, unless one level more or less can decide it."""
    pixels = bundle.manifest.preprocess.picture((bundle.path / FOLDER / image.image).read_bytes())
    probabilities, _ = engine.run([PROBABILITIES, LOGITS], {IMAGE: pixels[None]})
    answer, expected = bundle.manifest.classes[int(probabilities[0].argmax())], image.answers[MODEL]
    decided = golden.tolerances[MODEL].decides(np.load(bundle.path / FOLDER / image.outputs[MODEL]), golden.kind)
    return [f"{image.image}: {ANY_SIZE_MODEL} answers {answer}, expected {expected}"] if answer != expected and decided else []
