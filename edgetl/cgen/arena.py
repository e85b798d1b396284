"""The memory plan: one arena for all activations, whose bytes are reused after a tensor has been read for the last time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgetl.cgen.plan import Program
from edgetl.cgen.tensors import Tensor

ALIGNED = 4  # bytes


@dataclass(frozen=True, kw_only=True)
class Arena:
    """Offsets in bytes: of each tensor, of each operator's scratch memory (by its index), and the size of all."""

    tensors: Mapping[Tensor, int]
    scratch: Mapping[int, int]
    size_bytes: int


@dataclass(frozen=True)
class _Block:
    """Bytes that are needed from the first to the last operator, both included."""

    key: Tensor | int
    size: int
    first: int
    last: int


def plan_arena(plan: Program) -> Arena:
    """Large blocks first, each at the lowest place that no block of the same time takes (Pisarchyk & Lee 2020, "Greedy by size")."""
    placed: list[tuple[_Block, int]] = []
    for block in sorted(_blocks(plan), key=lambda block: (-block.size, block.first)):
        beside = sorted((place, other.size) for other, place in placed if block.first <= other.last and other.first <= block.last)
        offset = 0
        for place, size in beside:
            if offset + block.size <= place:
                break
            offset = max(offset, _up(place + size))
        placed.append((block, offset))
    return Arena(
        tensors={block.key: offset for block, offset in placed if isinstance(block.key, Tensor)},
        scratch={block.key: offset for block, offset in placed if isinstance(block.key, int)},
        size_bytes=_up(max((offset + block.size for block, offset in placed), default=0)),
    )


def _blocks(plan: Program) -> list[_Block]:
    made = {operator.output: index for index, operator in enumerate(plan.operators) if operator.output}
    read = {tensor: index for index, operator in enumerate(plan.operators) for tensor in operator.inputs}
    tensors = [_Block(tensor, tensor.size_bytes, index, read.get(tensor, index)) for tensor, index in made.items()]
    scratch = [_Block(index, each.scratch_bytes, index, index) for index, each in enumerate(plan.operators) if each.scratch_bytes]
    return tensors + scratch


def _up(offset: int) -> int:
    """The next multiple of the alignment."""
    return -(-offset // ALIGNED) * ALIGNED
