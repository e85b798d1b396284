"""README.md and clients/ of a bundle: for someone who has the bundle and nothing else."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from edgetl.bundle.manifest import Manifest
from edgetl.core.foreign import visible
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair
from edgetl.tasks.meaning import Meaning

PIXEL_LEVELS = 2.0  # JPEG decoders may round differently
FULL_DECODE_LEVELS = 6  # a large JPEG decoded in full where edgetl decodes at reduced size (5 at most on photos, chirps and noise)
NAMED_CLASSES = 6
CLIENTS = "clients"  # the folder of sample programs, here and in a bundle


def readme(manifest: Manifest, golden_images: int, *, int8_lost: bool = False) -> str:
    """The text of README.md: what this is, how to feed it, sample code that runs, what the golden vectors prove.

    `int8_lost`: the float form ships because an int8 form lost too much.
    """
    return (
        _environment()
        .from_string(_template("README.md.jinja"))
        .render(
            m=manifest,
            p=manifest.preprocess,
            **_rectangles(manifest.preprocess),
            input=manifest.inputs[0],
            output=manifest.outputs[0],
            fixed=all(isinstance(size, int) for size in manifest.inputs[0].shape),
            golden_images=golden_images,
            int8_lost=int8_lost,
            to_answer=_to_answer(manifest.outputs[0].kind),
            pixel_levels=PIXEL_LEVELS,
            full_decode_levels=FULL_DECODE_LEVELS,
            sample=sample_code(),
            some_classes=_some(manifest.classes),
            target_words=_target_words(manifest.target),
            versions_words=", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()) if name != "edgetl"),
        )
    )


def _rectangles(preprocess: Preprocess) -> dict[str, int]:
    """The sizes after resizing and after cropping, in words."""
    (rows, columns), (height, width) = pair(preprocess.resize), pair(preprocess.size)
    return {"rows": rows, "columns": columns, "height": height, "width": width}


def sample_code() -> str:
    """Python that classifies a picture with numpy, Pillow and onnxruntime only; the README's one block of Python."""
    return (files("edgetl.bundle") / CLIENTS / "python/classify.py").read_text(encoding="utf-8")


def copy_clients(out: Path) -> None:
    """Put the sample programs into `out`/clients, byte for byte, without what package managers and interpreters left beside them."""
    _copy(files("edgetl.bundle") / CLIENTS, out / CLIENTS)


def _copy(source: Traversable, target: Path) -> None:
    if source.is_file():
        target.write_bytes(source.read_bytes())
        return
    target.mkdir()
    for inside in sorted(source.iterdir(), key=lambda entry: entry.name):
        if visible(inside.name):
            _copy(inside, target / inside.name)


@cache
def _environment() -> Environment:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)
    environment.filters |= {"kilobytes": _kilobytes, "shape": _shape, "plain": _plain}
    return environment


def _template(name: str) -> str:
    return (files("edgetl.bundle") / "templates" / name).read_text(encoding="utf-8")


def _some(classes: tuple[str, ...]) -> str:
    shown = ", ".join(_quiet(name) for name in classes[:NAMED_CLASSES])
    return shown if len(classes) <= NAMED_CLASSES else f"{shown}, and {len(classes) - NAMED_CLASSES} more"


def _quiet(text: str) -> str:
    """Text from outside as code, so that Markdown finds nothing in it to obey."""
    return f"`{text.replace('`', chr(39))}`"


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _quiet(" ".join(text.split()))


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _kilobytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _to_answer(kind: Meaning | None) -> str:
    match kind:
        case "probabilities":
            return "The largest one is the answer; they are the confidences, and softmax must not be applied again."
        case "log_probabilities":
            return "The largest one is the answer; softmax turns them into confidences (as exp does, where nothing was rounded)."
        case "sigmoids":
            return "The largest one is the answer, and it is the confidence; the values of an image do not sum to 1."
        case "sigmoid":
            return "Above 0.5 the second class is the answer, else the first; the confidences of the two are `1 - p` and `p`."
        case "logit":
            return "Above 0 the second class is the answer, else the first; `p = 1 / (1 + exp(-x))` is the confidence of the second."
        case _:
            return "The largest one is the answer; softmax turns them into confidences."


def _target_words(target: str) -> str:
    match target:
        case "x86":
            return (
                "x86 processors with VNNI instructions (without them sums can saturate and answers change: "
                "there, use a bundle made for `x86-avx2` or `portable`)"
            )
        case "x86-avx2":
            return "x86 processors with AVX2"
        case "arm64":
            return "64-bit ARM processors"
        case "web":
            return "browsers (WebAssembly)"
        case _:
            return "any processor"
