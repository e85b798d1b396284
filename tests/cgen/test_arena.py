"""The arena: what is needed at the same time never overlaps, and it is no larger than all of it side by side."""

from __future__ import annotations

import numpy as np
import pytest

from edgetl.cgen.arena import Arena, plan_arena
from edgetl.cgen.plan import Concat, Conv, Operator, Program
from edgetl.cgen.tensors import Tensor, Window


def random_plan(seed: int) -> Program:
    """Operators of one to three inputs, made at any time before; every third has scratch memory."""
    rng = np.random.default_rng(seed)
    tensors = [Tensor(height=1, width=1, channels=int(rng.integers(1, 999)))]
    operators: list[Operator] = [Concat(parts=(), output=tensors[0])]
    for index in range(30):
        output = Tensor(height=int(rng.integers(1, 9)), width=1, channels=int(rng.integers(1, 200)))
        if index % 3:
            chosen = tuple(tensors[place] for place in rng.integers(max(0, len(tensors) - 6), len(tensors), rng.integers(1, 4)))
            operators.append(Concat(parts=chosen, output=output))
        else:
            numbers = {"weight": np.zeros(1, np.int8), "bias": np.zeros(1, np.int32), "scale": np.zeros(1, np.float32)}
            window = Window(kernel=(3, 3))
            conv = Conv(source=tensors[-1], output=output, window=window, groups=1, source_zero=0, zero=0, **numbers)
            operators.append(conv)
        tensors.append(output)
    return Program(image=(1, 1, 1), classes=1, operators=tuple(operators))


def bytes_of(plan: Program, arena: Arena, tensor: Tensor) -> set[int]:
    return set(range(arena.tensors[tensor], arena.tensors[tensor] + tensor.size_bytes))


@pytest.mark.parametrize("seed", range(20))
def test_a_tensor_keeps_its_bytes_until_it_is_read_for_the_last_time(seed: int) -> None:
    plan = random_plan(seed)
    arena = plan_arena(plan)
    owners: dict[int, object] = {}
    for index, operator in enumerate(plan.operators):
        for tensor in operator.inputs:
            assert {owners[place] for place in bytes_of(plan, arena, tensor)} == {tensor}
        assert operator.output is not None
        written = bytes_of(plan, arena, operator.output)
        scratch = set(range(arena.scratch.get(index, 0), arena.scratch.get(index, 0) + operator.scratch_bytes))
        assert not scratch & written
        assert not any((written | scratch) & bytes_of(plan, arena, tensor) for tensor in operator.inputs)
        owners.update(dict.fromkeys(scratch, index))
        owners.update(dict.fromkeys(written, operator.output))
        assert max(written | scratch) < arena.size_bytes
    everything = sum(operator.scratch_bytes + (operator.output.size_bytes if operator.output else 0) for operator in plan.operators)
    assert arena.size_bytes < everything / 2  # places are used again


def test_offsets_are_multiples_of_four() -> None:
    arena = plan_arena(random_plan(0))
    assert all(offset % 4 == 0 for offset in (*arena.tensors.values(), *arena.scratch.values(), arena.size_bytes))
