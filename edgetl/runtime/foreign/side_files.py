"""Weights in files beside the ONNX file (the specification's "external data", what torch's exporter writes by default).

A location is a path that a stranger wrote. What leaves the folder, links and hard links, offsets and lengths beyond the file are refused
here (CVE-2026-27489, CVE-2026-34447): onnx's own loader does so in its newest versions only. onnxruntime never follows a location: it is
given models that hold their weights.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx.external_data_helper import uses_external_data

from edgetl.core.artifacts import FileArtifact
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.runtime.loading import brief, load_proto, tensors_in, tensors_of

MOST_BYTES = 2**31 - 1  # what a protobuf holds


@dataclass(frozen=True, kw_only=True)
class ForeignModel(FileArtifact):
    """An ONNX file of another maker, known by its content and that of the files its weights lie in."""

    @classmethod
    def of(cls, path: Path) -> ForeignModel:
        """The artifact for the ONNX file at `path`.

        Raises:
            InputError: no ONNX file, or one whose side files cannot be used.
        """
        model = load_proto(path)
        sha = hashlib.sha256(file_sha256(path).encode())
        for location in sorted({location_of(tensor) for tensor in outside(model)}):
            sha.update(file_sha256(_place(location, path, "weights")).encode())
        return cls(path=path, sha256=sha.hexdigest())


def load_side_files(model: onnx.ModelProto, path: Path) -> tuple[str, ...]:
    """Put the weights that lie beside the file at `path` into `model`; the names of the files they came from.

    Raises:
        InputError: a location outside the folder, a link, a file that is missing or too short, more than a protobuf holds.
    """
    tensors = list(outside(model))
    if sum(map(_bytes_of, tensors)) > MOST_BYTES:
        raise InputError(
            f"expected at most 2 GB of weights, found {sum(map(_bytes_of, tensors)) / 1e9:.1f} GB beside {path.name}: edgetl writes "
            "models of one file, and an ONNX file holds no more. Give a smaller model"
        )
    locations = sorted({location_of(tensor) for tensor in tensors})
    for tensor in tensors:
        place = _place(location_of(tensor), path, tensor.name or "a constant")
        try:
            tensor.raw_data = _read(tensor, place)
        except (ValueError, OSError) as error:
            raise InputError(
                f"expected the weights of {path.name} in {place.name} beside it, which cannot be read (external data): {brief(error)}. "
                "Export the model again, or save it as one file"
            ) from error
        if len(tensor.raw_data) != (wanted := _bytes_of(tensor)):
            raise InputError(
                f"expected {wanted} bytes for {tensor.name} of {path.name} in {place.name} (external data), found {len(tensor.raw_data)}. "
                "Export the model again, or copy both files again"
            )
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return tuple(locations)


def _read(tensor: onnx.TensorProto, place: Path) -> bytes:
    """The bytes that a tensor's entries name in the file at `place`, to the end of it where they give no length.

    Raises:
        ValueError: a hard link, no numbers, or bytes beyond the file.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    opened = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(opened, "rb") as stream:
        status = os.fstat(stream.fileno())
        if status.st_nlink > 1:
            raise ValueError("it is a hard link, whose content other names may change")
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or status.st_size - offset)
        if not 0 <= offset <= offset + length <= status.st_size:
            raise ValueError(f"the model names bytes {offset} to {offset + length}, the file has {status.st_size}")
        stream.seek(offset)
        return stream.read(length)


def outside(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The tensors whose values lie in other files."""
    yield from (tensor for tensor in tensors_of(model.graph) if uses_external_data(tensor))
    for function in model.functions:
        yield from (tensor for tensor in tensors_in(function.node) if uses_external_data(tensor))


def location_of(tensor: onnx.TensorProto) -> str:
    """The path that the file gives for a tensor's values."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _place(location: str, path: Path, tensor: str) -> Path:
    """Where a location lies, if that is a file in the folder of the model."""
    windows, posix = PureWindowsPath(location), PurePosixPath(location)
    leaves = bool(windows.anchor) or posix.is_absolute() or ".." in (*windows.parts, *posix.parts) or "\0" in location
    place = path.parent / location
    if leaves or not location or not place.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(
            f"expected the weights of {path.name} beside it, found that {tensor} is in external data outside its folder ({location!r}): "
            "edgetl does not follow that. Put the file beside the model and export again, or save the model as one file "
            "(onnx.save_model(model, path, save_as_external_data=False))"
        )
    if place.is_symlink():
        raise InputError(
            f"expected the weights of {path.name} in the file {location} beside it (external data), found a link there. "
            "Put a copy of the file in its place"
        )
    if not place.is_file():
        found = "a folder" if place.is_dir() else "nothing"
        raise InputError(
            f"expected the weights of {path.name} in the file {location} beside it (external data), found {found} there. "
            "Copy it there: both files belong together"
        )
    return place


def _bytes_of(tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor's values need; types of less than a byte share one."""
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in onnx.TensorProto.DataType.values() else "UNDEFINED"
    bits = next((bits for bits in (2, 4) if kind.endswith(f"INT{bits}") or kind.startswith(f"FLOAT{bits}")), None)
    if kind in ("UNDEFINED", "STRING"):
        raise InputError(f"expected numbers in {tensor.name or 'a constant'}, found type {kind} in external data. Export the model again")
    if bits is None:
        bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(max(0, math.prod(tensor.dims)) * bits + 7) // 8
