"""classifier.h and classifier.c: a classifier's int8 graph in C99, and what it takes of flash and RAM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from string import Template

import onnx

from edgetl.cgen.arena import plan_arena
from edgetl.cgen.emit import c_source, labels
from edgetl.cgen.footprint import Footprint
from edgetl.cgen.read import read_plan
from edgetl.cgen.tables import number
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess

HEADER, SOURCE, CHECK, FOOTPRINT = "classifier.h", "classifier.c", "check.c", "footprint.json"


def write_c(
    model: onnx.ModelProto,
    preprocess: Preprocess,
    classes: Sequence[str],
    out: Path,
    temperature: float = 1.0,
    threshold: float | None = None,
    decisions: Sequence[int] = (),
) -> Footprint:
    """Write the two files, check.c and what they take as footprint.json; the same inputs give the same bytes.

    Args:
        model: an int8 graph, made for `portable`.
        preprocess: how its input was prepared.
        classes: names, in the order of the logits.
        out: a folder that exists.
        temperature: what logits are divided by before they become probabilities.
        threshold: of the probability below which the answer is unknown; None where there is none.
        decisions: of the golden vectors: a class, -1 for unknown, -2 where rounding decides.

    Raises:
        InputError: an operator that the C code does not have.
    """
    plan = read_plan(model, preprocess)
    arena = plan_arena(plan)
    text = c_source(plan, arena)
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
        "threshold": number(threshold or 0.0),
        "labels": ",\n    ".join(names),
        "functions": text.functions(),
        "tables": "\n".join(text.tables),
        "calls": "\n".join(text.calls),
        "decisions": "".join(f"{decision}, " for decision in decisions),
    }
    for name in (HEADER, SOURCE, CHECK):
        write_whole(out / name, Template(_skeleton(name)).substitute(filled))
    footprint = Footprint.of(size, arena.size_bytes)
    write_whole(out / FOOTPRINT, json.dumps(asdict(footprint), indent=2) + "\n")
    return footprint


def _skeleton(name: str) -> str:
    return resources.files("edgetl.cgen").joinpath("parts", name).read_text(encoding="utf-8")
