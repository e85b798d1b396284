"""Recognition of files that are no readable weights, by their first bytes, with advice."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

WEIGHTS_HEAD_BYTES = 512
TAR_MARK = 257  # where a tar archive says `ustar`
STATE_DICT = "Save the network's state dict in PyTorch: torch.save(model.state_dict(), 'weights.pth')"


def foreign_kind(path: Path) -> str | None:
    """The kind of a file that is neither safetensors nor from torch.save, with advice: `KIND. ADVICE`; None: it may be one of these."""
    with path.open("rb") as stream:
        head = stream.read(WEIGHTS_HEAD_BYTES)
    return _by_first_bytes(head) or (_in_zip(path) if zipfile.is_zipfile(path) else _by_content(path, head))


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as a safetensors file does: the length of a JSON header, and the header."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _by_first_bytes(head: bytes) -> str | None:
    text = head.lstrip().lower()
    if not head:
        return "an empty file. Download or copy it again"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"an HDF5 file, as Keras writes. {STATE_DICT}"
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model. {STATE_DICT}"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file. Fetch the file with git lfs pull"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, as a failed download leaves. Download it again"
    if head.startswith(b"\x93NUMPY"):
        return f"a NumPy array. {STATE_DICT}"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or head[TAR_MARK : TAR_MARK + 5] == b"ustar":
        return "a packed archive. Unpack it and give the file of weights in it"
    return None


def _in_zip(path: Path) -> str | None:
    """Of zip archives, torch.save's holds `NAME/data.pkl` and no `NAME/constants.pkl`."""
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
    if "constants.pkl" in names:
        return (
            "a TorchScript program. Take its weights out: "
            f"torch.save(torch.jit.load({path.as_posix()!r}, map_location='cpu').state_dict(), 'weights.pth')"
        )
    if "data.pkl" in names:
        return None
    if any(name.endswith((".weights.h5", "keras_metadata.pb")) for name in names):
        return f"a Keras model. {STATE_DICT}"
    if any(name.endswith(".npy") for name in names):
        return f"NumPy arrays (.npz). {STATE_DICT}"
    if any(name.startswith(("serialized_exported_program", "archive_format", "models/")) for name in names):
        return f"a program of torch.export. {STATE_DICT}"
    return "a zip archive. Unpack it and give the file of weights in it"


def _by_content(path: Path, head: bytes) -> str | None:
    if head.lstrip()[:1] == b"{":
        return _json(path)
    if path.suffix.lower() == ".onnx" or (head[:1] == b"\x08" and _is_onnx(path)):
        return f"an ONNX model, which cannot be trained. {STATE_DICT}. An ONNX model as it is goes to edgetl quantize"
    return None


def _json(path: Path) -> str:
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        return f"a text file. {STATE_DICT}"
    if isinstance(said, dict) and isinstance(parts := said.get("weight_map"), dict):
        count = len({str(name) for name in parts.values()})
        return f"the index of weights that lie in {count} other file{'' if count == 1 else 's'}. Save them as one .safetensors file"
    return f"a JSON file. {STATE_DICT}"


def _is_onnx(path: Path) -> bool:
    import onnx

    try:
        return bool(onnx.load_model(path, load_external_data=False).graph.node)
    except Exception:  # protobuf's DecodeError is an Exception and no more
        return False
