"""The stage contract.

A stage is a frozen dataclass: its fields are its inputs and settings, `run(out)` writes only inside `out` and
returns a frozen result. A `Workspace` (core/workspace.py) runs stages and remembers what they gave.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, get_args

from edgetl.core.canonical import canonical, digest_of, key_fields

R = TypeVar("R")


class Stage(Generic[R]):
    """One step of the chain; subclasses are frozen, keyword-only dataclasses.

    `run` may find files of an earlier, killed attempt in `out` (its own checkpoints) and continues from them.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1  # bump when the same inputs would give another result
    decides: ClassVar[bool] = False  # the result says which stages follow: an earlier one, to another question, tells nothing of them

    @abstractmethod
    def run(self, out: Path) -> R:
        """Do the work, writing only inside `out`; paths in the result lie inside `out`."""

    @property
    def network(self) -> str:
        """The network that the stage works on, where a chain has the stage once for each; for messages only."""
        return ""

    @property
    def key(self) -> str:
        """sha256 over the canonical JSON of `[name, version, fields]`."""
        return digest_of([self.name, self.version, self.fields()])

    def fields(self) -> dict[str, object]:
        """The canonical form of the fields that count for the key."""
        return {f.name: canonical(getattr(self, f.name)) for f in key_fields(self)}

    @classmethod
    def result_type(cls) -> type:
        """`Student` for a `Stage[Student]`.

        Raises:
            TypeError: the class does not say what it gives, or gives something else than a dataclass.
        """
        for base in getattr(cls, "__orig_bases__", ()):
            for given in get_args(base):
                if isinstance(given, type) and dataclasses.is_dataclass(given):
                    return given
        raise TypeError(f"{cls.__qualname__} must derive from Stage[SomeFrozenDataclass]")
