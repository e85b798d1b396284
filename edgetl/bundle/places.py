"""No file of a bundle may tell where on whose machine it was made."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.runtime.loading import load_proto, tensors_of

HOMES = rb"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[\w.\-]+[/\\]"
SCRIPTS = rb"(?:[A-Za-z]:)?(?:[/\\][\w.\-]+){2,}\.pyc?\b"


def refuse_local_paths(folder: Path, names: list[str]) -> None:
    """Pass if none of the files names a home folder, the temporary folder, this Python or a script by its full path.

    Raises:
        InputError: names each file and what was found in it.
    """
    own = _own_places()
    found = [(name, match[0]) for name in names if (match := _pattern(name, own).search(_text_of(folder / name)))]
    if found:
        rows = [f"{name}: {place.decode(errors='replace')}" for name, place in found]
        raise InputError(
            f"expected a bundle without paths of this computer, found:\n{listing(rows)}\nRemove them from the metadata of the model"
        )


def _pattern(name: str, own: list[bytes]) -> re.Pattern[bytes]:
    """What no file may hold. In a text `clients/python/classify.py` is no full path; in a graph a length, any byte, stands before one."""
    scripts = SCRIPTS if name.endswith(".onnx") else rb"(?<![\w.\-])" + SCRIPTS
    return re.compile(b"|".join([HOMES, scripts, *own]))


def _own_places() -> list[bytes]:
    places = {str(place).rstrip("/\\") for place in (Path.home(), tempfile.gettempdir(), sys.prefix)}
    return [rb"(?<![\w.\-/:])" + re.escape(place.encode()) + rb"[/\\]" for place in sorted(places) if len(place) > 2]


def _text_of(path: Path) -> bytes:
    """The bytes of a file; of a graph, those that are not weights, which may look like anything."""
    if path.suffix != ".onnx":
        return path.read_bytes()
    model = load_proto(path)
    for tensor in tensors_of(model.graph):
        tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())
