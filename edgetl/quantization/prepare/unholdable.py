"""Weights that no int8 model can answer like: not finite, or too large."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgetl.core.errors import InputError, listing
from edgetl.quantization.graph.layers import WEIGHTED

LARGEST_WEIGHT = 1e18  # float32 holds its square


def refuse_unholdable(model: onnx.ModelProto, name: str) -> None:
    """Raise InputError where a weight, bias or number of a BatchNormalization is not finite, or so large that its square is not.

    Args:
        model: a graph.
        name: the model's, for the message.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[str] = []
    for node in model.graph.node:
        for tensor in (stored[each] for each in node.input if node.op_type in {*WEIGHTED, "BatchNormalization"} and each in stored):
            values = numpy_helper.to_array(tensor)
            if not (np.abs(values) < LARGEST_WEIGHT).all():  # NaN is not, either
                what = "NaN" if np.isnan(values).any() else f"{values.min():.3g} to {values.max():.3g}"
                found.append(f"{tensor.name} of {node.op_type} {node.name or node.output[0]}: {what}")
    if found:
        raise InputError(
            f"expected finite weights up to {LARGEST_WEIGHT:.0e} in {name}, found values that no int8 model can represent:\n"
            f"{listing(found)}\n"
            "Train or export the model again, and check its loss"
        )
