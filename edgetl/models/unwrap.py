"""Which tensors of a training checkpoint are the network's: trainers wrap the state dict, and put prefixes before its names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edgetl.core.errors import InputError, listing

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "model_state")
CARRIERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))  # torch's own, anywhere in a name
DEEPEST = 4  # a state dict lies below so many keys at most
LEAST_SHARE = 0.2  # share of the network's tensors that a prefix must bring


def is_averaged(name: str) -> bool:
    """Whether a key or prefix says that weights are averages over training (EMA, SWA)."""
    return any(part in ("ema", "swa", "averaged", "average") for part in re.split(r"[._\-\s]", name.lower()))


@dataclass(frozen=True)
class WrappedTensors:
    """Tensors that may be the network's: those at `path` in the file, their names without `prefix`.

    Attributes:
        tensors: by the name in the network.
        fits: how many of the network's tensors they are, by name and shape; and by name.
    """

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    fits: tuple[int, int]

    @cached_property
    def averaged(self) -> bool:
        """Whether these are averages over training."""
        return any(is_averaged(part) for part in (*self.path, self.prefix))

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Lower is better, among those that fit alike."""
        return (not self.averaged, not all(part in WRAPPERS or is_averaged(part) for part in self.path), len(self.path))

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return " in ".join(filter(None, [self.prefix and f"{self.prefix}*", "/".join(self.path)])) or "the top"

    @property
    def said(self) -> str:
        """A message about removed prefixes and wrappers; empty if there are none."""
        found = f"found under {'/'.join(self.path)}" if self.path else ""
        return ", ".join(filter(None, [found, f"prefix {self.prefix} taken off" if self.prefix else ""]))


def unwrap(content: Mapping[str, object], own: Mapping[str, Tensor], file: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of `content` that fit the network's `own` names and shapes best, and a message about removed prefixes.

    Averaged weights (EMA, SWA) go before plain ones that fit as well: they are what trainers judge by.

    Raises:
        InputError: no tensors, or several networks that fit alike.
    """
    candidates = [made for path, tensors in _nests(content) for made in _candidates(path, tensors, own)]
    if not candidates:
        raise InputError(f"expected weights in {file}, found no tensors")
    most = max(made.fits for made in candidates)
    fitting = sorted((made for made in candidates if made.fits == most), key=lambda made: made.rank)
    first = fitting[0]
    rivals = [made for made in fitting[1:] if made.rank == first.rank and most[0] and not _same(made, first)]
    if rivals:
        raise InputError(
            f"expected one network in {file}, found {1 + len(rivals)} that fit equally well:\n"
            f"{listing([made.place for made in (first, *rivals)], 6)}\nSave the one you mean in a file of its own, with torch.save"
        )
    others = [made.place for made in candidates if made.averaged != first.averaged and 2 * made.fits[0] >= most[0] > 0]
    return dict(first.tensors), "; ".join(filter(None, [first.said, _choice(first, others)]))


def _choice(taken: WrappedTensors, others: list[str]) -> str:
    if not others:
        return ""
    if taken.averaged:
        return f"these are the averaged weights, which trainers judge by (the plain ones: {others[0]})"
    return f"these are the plain weights, since the averaged ones ({others[0]}) are not complete"


def _nests(content: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every mapping in the content that holds tensors by name, with the keys that lead to it."""
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping) and len(path) < DEEPEST:
            yield from _nests(value, (*path, name))


def _candidates(path: tuple[str, ...], tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[WrappedTensors]:
    """The tensors as they are named, and without each prefix that makes as many of them the network's as any does."""
    clean = {_clean(name, own): name for name in tensors}
    counts = Counter(prefix for name in clean for prefix in _prefixes(name, own))
    most = max([count for prefix, count in counts.items() if prefix], default=0)
    chosen = [prefix for prefix, count in counts.items() if prefix and 2 * count >= most and count >= LEAST_SHARE * len(own)]
    for prefix in ("", *chosen):
        named = {name.removeprefix(prefix): tensors[raw] for name, raw in clean.items()}
        known = own.keys() & named.keys()
        shaped = sum(named[name].shape == own[name].shape for name in known)
        yield WrappedTensors(path, _as_written(clean, prefix, own), named, (shaped, len(known)))


def _clean(name: str, own: Mapping[str, Tensor]) -> str:
    """The name without the parts that torch's wrappers add."""
    return name if name in own else ".".join(part for part in name.split(".") if part not in CARRIERS)


def _prefixes(name: str, own: Mapping[str, Tensor]) -> Iterator[str]:
    """The prefixes in front of the network's names."""
    parts = name.split(".")
    for at in range(len(parts)):
        if (rest := ".".join(parts[at:])) in own:
            yield name[: len(name) - len(rest)]


def _as_written(clean: Mapping[str, str], prefix: str, own: Mapping[str, Tensor]) -> str:
    """The prefix as the file has it, with what was cleaned away."""
    for name, raw in clean.items():
        if name.startswith(prefix) and (rest := name.removeprefix(prefix)) in own:
            return raw.removesuffix(rest) if raw.endswith(rest) else prefix or "module."
    return prefix


def _same(one: WrappedTensors, other: WrappedTensors) -> bool:
    """Whether two candidates hold the same numbers."""
    return one.tensors.keys() == other.tensors.keys() and all(
        value.shape == other.tensors[name].shape and torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )
