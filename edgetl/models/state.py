"""Files of weights, read without running code."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgetl.core.errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL = "module."  # what DataParallel puts in front of every name
SAFETENSORS = ".safetensors"


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a `.safetensors` file, or in a `.pth` file: a state dict, or one under `state_dict` or `model`.

    Tensors by name on the CPU, floating point ones as float32.

    Raises:
        InputError: the file is not there, is damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"expected a file of weights at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    tensors = _safetensors(path) if path.suffix.lower() == SAFETENSORS else _pickled(path)
    plain = {name.removeprefix(PARALLEL): value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    if not plain:
        raise InputError(f"expected weights in {path.name}, found no tensors")
    return plain


def load_state(model: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """`model.load_state_dict` for tensors from a file, which say nothing of their layers' versions: those of `model` are meant."""
    versioned = OrderedDict(state)
    versioned._metadata = getattr(model.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    model.load_state_dict(versioned, strict=strict)


def read_description(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, all strings; empty for other files.

    Raises:
        InputError: named `.safetensors`, but is none.
    """
    if path.suffix.lower() != SAFETENSORS:
        return {}
    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected a safetensors file at {path}, found something else: {error}") from error


def classes_in(description: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """The class names in a file's metadata (a JSON list), or None if it names none; `name` is the file's, for messages.

    Raises:
        InputError: there is something else.
    """
    text = description.get("classes")
    if text is None:
        return None
    try:
        classes = json.loads(text)
    except ValueError:
        classes = None
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise InputError(f"expected the classes in {name} as a JSON list of names, found {text[:80]!r}")
    return tuple(classes)


def _safetensors(path: Path) -> dict[str, Tensor]:
    read_description(path)  # refuses what is no safetensors file
    with safe_open(path, framework="pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"expected a state dict at {path} that can be read without running its code, found something else: {said}. "
            "Save one with torch.save(model.state_dict(), path), or as safetensors"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise InputError(f"expected a state dict (tensors by name) at {path}, found {type(content).__name__}")
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
