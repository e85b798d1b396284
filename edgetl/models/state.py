"""Files of weights, read without running code."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgetl.core.errors import InputError, listing
from edgetl.models.filekind import foreign_kind, is_safetensors
from edgetl.models.outline import conversion

SAFETENSORS = ".safetensors"
SCALARS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


def read_content(path: Path) -> Mapping[str, object]:
    """The content of a file of weights: tensors by name, in a `.pth` file perhaps below keys of the trainer.

    Raises:
        InputError: the file is not there, is damaged, needs code to be read, or is of another kind.
    """
    if not path.is_file():
        raise InputError(f"expected a file of weights at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    return _safetensors(path) if path.suffix.lower() == SAFETENSORS else _pickled(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a file that holds nothing else: tensors by name on the CPU, floating point ones as float32.

    Raises:
        InputError: as `read_content`; no tensors, or tensors that cannot be used.
    """
    tensors = {name: value for name, value in read_content(path).items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"expected weights in {path.name}, found no tensors")
    return plain_tensors(tensors, path.name)


def plain_tensors(tensors: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """The tensors, dense, floating point ones as float32.

    Raises:
        InputError: names the tensors that are quantized.
    """
    quantized = [name for name, value in tensors.items() if value.is_quantized]
    if quantized:
        raise InputError(
            f"expected floating point weights in {file}, found quantized tensors:\n{listing(quantized, 3)}\n"
            "Give the weights before quantization"
        )
    dense = {name: value.detach() if value.layout == torch.strided else value.detach().to_dense() for name, value in tensors.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in dense.items()}


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
        found = foreign_kind(path) if path.is_file() else None
        raise InputError(f"expected a safetensors file at {path}, found {found or f'other content: {error}'}") from error


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


def _pickled(path: Path) -> Mapping[str, object]:
    if is_safetensors(path):
        raise InputError(
            f"expected a file that torch.save wrote at {path}, found a safetensors file. Rename it to {path.stem}{SAFETENSORS}"
        )
    if kind := foreign_kind(path):
        raise InputError(f"expected a state dict at {path}, found {kind}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make torch raise anything
        raise InputError(_unreadable(path)) from error
    if not isinstance(content, Mapping):
        raise InputError(f"expected a state dict (tensors by name) at {path}, found {type(content).__name__}")
    return content


def _numpy_scalars() -> list[Any]:
    """What a NumPy number in a checkpoint (a best score) is pickled as: values without code."""
    scalar: Any = np.float32(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in SCALARS]
    return [*(_named(scalar, f"numpy.{core}.multiarray") for core in ("core", "_core")), np.dtype, *kinds]


def _named(function: Callable[..., Any], module: str) -> Callable[..., Any]:
    """`function` under the name of another module: torch 2.5 does not take pairs of a function and its name."""

    @functools.wraps(function)
    def same(*given: Any) -> Any:
        return function(*given)

    same.__module__ = module
    return same


def _unreadable(path: Path) -> str:
    expected = f"expected a state dict at {path} that can be read without running its code"
    if (needs := conversion(path)) is None:
        return (
            f"{expected}, found a file that is damaged or of another kind. Download or copy it again, or save it again with torch.save(...)"
        )
    classes, line = needs
    found = f"{expected}, found a pickle that needs code ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"
    if not line:
        return f"{found} and has no weights outside of it. Save the weights with torch.save(model.state_dict(), 'weights.pth')"
    return f"{found}. If you trust its author, convert it with this line, which runs its code, and give the new file:\n{line}"
