"""The data set that weights were trained on before fine-tuning, if only an older checkpoint's provenance names it."""

from __future__ import annotations

from edgetl.core.seen import UNNAMED
from edgetl.models.checkpoint import CheckpointInfo
from edgetl.models.embedded import ASSETS
from edgetl.models.state import read_description

IMAGENET = "imagenet1k"


def trained_before(info: CheckpointInfo) -> str | None:
    """The data set of the weights that a checkpoint started from; None where its record names them all, or it started from none."""
    if info.seen.trained_on:
        return None
    said = info.provenance.get("weights", "").partition(" sha256:")[0]
    match said.partition(":"):
        case ("embedded", _, name):
            file = next((file for file in sorted(ASSETS.glob("*.safetensors")) if file.stem.removesuffix("_fp16") == name), None)
            return (read_description(file).get("trained_on") if file else None) or f"{UNNAMED} of {name}"
        case ("published" | "package", _, _):
            return IMAGENET
        case ("file", _, name):
            return f"{UNNAMED} of {name}"
    return None
