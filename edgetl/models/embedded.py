"""The small pretrained weights that come with edgetl, so that it works offline."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from edgetl.models.state import read_description

ASSETS = Path(str(files("edgetl"))) / "assets"


def embedded_weights(arch: str, assets: Path) -> Path | None:
    """The file with embedded weights for `arch`, or None."""
    return next((path for path in sorted(assets.glob("*.safetensors")) if read_description(path).get("arch") == arch), None)
