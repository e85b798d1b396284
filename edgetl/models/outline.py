"""The content of a pickle, read without running its code: each class in it is replaced by one that does nothing.

So a file that cannot be read safely can still be named for what it is, with the one line that converts it.
"""

from __future__ import annotations

import io
import pickle
import re
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from edgetl.models.unwrap import WRAPPERS, is_averaged

BEFORE_CONTENT = 3  # pickles in a file that torch.save wrote before 1.6: a mark, its version, the system
SPECIAL = re.compile(r'["$`!\\\\]')  # what a shell reads between double quotes
TENSORS = ("_rebuild_tensor", "_rebuild_parameter")
HARMLESS = re.compile(
    r"(builtins|__builtin__)\.(set|frozenset)|collections\.OrderedDict|torch\._utils\..*|torch\.(\w+Storage|Size|device|storage\..*|float\w+|int\w+|bfloat16)"
)


class _Stand:
    """Stands for an object of any class: takes what it is given and does nothing."""

    origin: ClassVar[str] = ""
    state: object = None

    def __new__(cls, *_args: object, **_named: object) -> _Stand:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _value: object) -> None:
        pass

    def extend(self, _values: object) -> None:
        pass

    @property
    def is_tensor(self) -> bool:
        return self.origin.rpartition(".")[2].startswith(TENSORS)

    @property
    def is_module(self) -> bool:
        return isinstance(self.state, Mapping) and "_modules" in self.state


class _Reader(pickle.Unpickler):
    """Builds dicts, lists, numbers and texts, and a `_Stand` for all else."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__(stream)
        self.classes: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{module}.{name}"
        self.classes.add(origin)
        return OrderedDict if origin == "collections.OrderedDict" else type("Stand", (_Stand,), {"origin": origin})

    def persistent_load(self, pid: Any) -> Any:
        """Numbers lie elsewhere in the file; of a class, old files keep the source beside it."""
        return pid[1] if isinstance(pid, tuple) and pid[:1] == ("module",) else _Stand()


def conversion(path: Path) -> tuple[list[str], str] | None:
    """The classes a pickle needs code of, and the line that saves its weights without them.

    None where it needs none, or cannot be looked into. The line is empty where no weights are found.
    """
    try:
        content, classes = _outline(path)
    except Exception:  # damaged pickles make the reader raise anything
        return None
    foreign = sorted((name for name in classes if not HARMLESS.fullmatch(name)), key=lambda name: (name.startswith("torch."), name))
    if not foreign:
        return None
    where = _weights_in(content)
    return foreign, "" if where is None else _line(path, where)


def _outline(path: Path) -> tuple[object, set[str]]:
    """The content with a `_Stand` for each object, and the names of all classes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            reader = _Reader(io.BytesIO(archive.read(name)))
            return reader.load(), reader.classes
    with path.open("rb") as stream:
        if not isinstance(pickle.Unpickler.load(_Reader(stream)), int):
            stream.seek(0)  # a plain pickle
        else:
            for _ in range(BEFORE_CONTENT - 1):
                _Reader(stream).load()
        reader = _Reader(stream)
        return reader.load(), reader.classes


def _weights_in(content: object) -> str | None:
    """Python that takes the state dict out of the content: `["model"].state_dict()`."""
    if isinstance(content, _Stand):
        return ".state_dict()" if content.is_module else None
    if not isinstance(content, Mapping):
        return None
    if any(isinstance(value, _Stand) and value.is_tensor for value in content.values()):
        return ""
    keys = [key for key in content if isinstance(key, str)]
    for key in sorted(keys, key=lambda key: (not is_averaged(key), key not in WRAPPERS)):
        inside = _weights_in(content[key])
        if inside is not None:
            return f"[{key!r}]{inside}"
    return None


def _line(path: Path, where: str) -> str:
    """A line for the shell."""
    out = path.with_name(f"{path.stem}-weights.pth")
    code = f"import torch; torch.save(torch.load({path.as_posix()!r}, map_location='cpu', weights_only=False){where}, {out.as_posix()!r})"
    return f"python -c {shlex.quote(code)}" if re.search(SPECIAL, code) else f'python -c "{code}"'
