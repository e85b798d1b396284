"""The names of inputs and outputs as the user's file has them, which gave way while the graph was prepared."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgetl.quantization.graph.names import fresh, rename_values, value_names
from edgetl.quantization.graph.passes import Pass


def public_names(inputs: Sequence[str], outputs: Sequence[str]) -> Pass:
    """The pass that gives these names back."""
    return Pass(name="public names", rewrite=lambda index: with_public_names(index.model, inputs, outputs), keeps="same bits")


def with_public_names(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """A copy whose inputs and outputs have these names; an inner value that has one of them gives way."""
    old = [value.name for value in (*model.graph.input, *model.graph.output)]
    if old == [*inputs, *outputs]:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    public = dict(zip(old, [*inputs, *outputs], strict=True))
    taken = {*value_names(result.graph), *public.values()}
    inner = {name: fresh(name, taken) for name in public.values() if name not in public}
    rename_values(result.graph, inner | public)
    return result
