"""classifier.h and classifier.c: a classifier's int8 graph in C99, and what it takes of flash and RAM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from string import Template

import onnx

from edgetl.cgen.arena import planned
from edgetl.cgen.emit import labels, written
from edgetl.cgen.read import read_plan
from edgetl.cgen.tables import number
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess

CODE_BYTES = 4096  # at most: 1.9 to 3.2 kB were measured with arm-none-eabi-gcc 12
STACK_BYTES = 512  # at most: 180 to 260 bytes were measured on emulated boards
HEADER, SOURCE, CHECK, FOOTPRINT = "classifier.h", "classifier.c", "check.c", "footprint.json"


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the C code takes, in bytes.

    Attributes:
        table_bytes: of constants, in flash.
        arena_bytes: of activations, in RAM.
        flash_bytes: at most, with machine code for a Cortex-M (`-Os` or `-O2`; classes with long names take more).
        ram_bytes: at most, with the stack; image, logits and whatever calls it left out.
    """

    table_bytes: int
    arena_bytes: int
    flash_bytes: int
    ram_bytes: int


def write_c(model: onnx.ModelProto, preprocess: Preprocess, classes: Sequence[str], out: Path, temperature: float = 1.0) -> Footprint:
    """Write the two files, check.c and what they take as footprint.json; the same inputs give the same bytes.

    Args:
        model: an int8 graph, made for `portable`.
        preprocess: how its input was prepared.
        classes: names, in the order of the logits.
        out: a folder that exists.
        temperature: what logits are divided by before they become probabilities.

    Raises:
        InputError: an operator that the C code does not have.
    """
    plan = read_plan(model, preprocess)
    arena = planned(plan)
    text = written(plan, arena)
    height, width, channels = plan.image
    names = list(labels(classes))
    size = text.table_bytes
    filled = {
        "height": height,
        "width": width,
        "channels": channels,
        "order": "red, green, blue" if channels > 1 else "gray",
        "classes": len(names),
        "arena_bytes": arena.size_bytes,
        "table_bytes": size,
        "temperature": number(temperature),
        "labels": ",\n    ".join(names),
        "functions": text.functions(),
        "tables": "\n".join(text.tables),
        "calls": "\n".join(text.calls),
    }
    write_whole(out / CHECK, _skeleton(CHECK))
    for name in (HEADER, SOURCE):
        write_whole(out / name, Template(_skeleton(name)).substitute(filled))
    footprint = Footprint(
        table_bytes=size, arena_bytes=arena.size_bytes, flash_bytes=size + CODE_BYTES, ram_bytes=arena.size_bytes + STACK_BYTES
    )
    write_whole(out / FOOTPRINT, json.dumps(asdict(footprint), indent=2) + "\n")
    return footprint


def _skeleton(name: str) -> str:
    return resources.files("edgetl.cgen").joinpath("parts", name).read_text(encoding="utf-8")
