"""int8 codes of weights: of several scales per channel, the one that reconstructs it best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.layers import MOST, Numbers, along, channel_axis, constants, float_name, layers, with_numbers
from edgetl.quantization.saturation import Pairs, limited

NARROWER = tuple(np.linspace(0.8, 0.98, 10))  # than the extremes: these are clipped
WIDER = tuple(np.linspace(1.04, 2.0, 25))  # where pairs of weights are limited: at twice the scale no pair is


def with_fitted_weights(qdq: onnx.ModelProto, float_model: onnx.ModelProto, pairs: Mapping[str, Pairs]) -> onnx.ModelProto:
    """A QDQ graph whose weights have the least squared error, with biases in the codes that follow from it.

    Args:
        qdq: the graph, weights as the writer leaves them.
        float_model: what it was made from.
        pairs: neighbours to limit, by the name of the codes.
    """
    stored, floats = constants(qdq), constants(float_model)
    weights: dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    for layer in layers(qdq):
        codes, scale = layer.weight.input[:2]
        if float_name(codes) in floats:
            axis = channel_axis(layer.weight)
            weights[codes] = fitted(floats[float_name(codes)], stored[scale], axis, pairs.get(codes))
        if layer.bias is not None and float_name(layer.bias.input[0]) in floats:
            biases[layer.bias.input[0]] = floats[float_name(layer.bias.input[0])]
    return with_numbers(qdq, Numbers(weights=weights, biases=biases))


def fitted(
    values: NDArray[np.float32], scale: NDArray[np.float32], axis: int, pairs: Pairs | None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes, and a scale for each channel, from multiples of `scale` (which reaches the largest weight or, for a large bias, further)."""
    others = tuple(i for i in range(values.ndim) if i != axis) if scale.size > 1 else None
    largest = np.abs(values).max(axis=others)
    reaches = scale * MOST > largest * np.float32(1.001)  # its bias needs the scale
    best_error = np.full(scale.shape, np.inf)
    best = scale
    for factor in (1.0, *NARROWER, *(WIDER if pairs else ())):
        candidate = (scale * np.float32(factor)).astype(np.float32)
        error = (np.square(along(candidate, values.ndim, axis) * coded(values, candidate, axis, pairs) - values)).sum(axis=others)
        better = (error < best_error) & ~(reaches & (factor < 1))
        best, best_error = np.where(better, candidate, best), np.where(better, error, best_error)
    return coded(values, best, axis, pairs).astype(np.int8), best.astype(np.float32)


def coded(values: NDArray[np.float32], scale: NDArray[np.float32], axis: int, pairs: Pairs | None) -> NDArray[np.float32]:
    """Whole numbers in [-127, 127], no pair of neighbours above its limit."""
    return limited(np.clip(np.rint(values / along(scale, values.ndim, axis)), -MOST, MOST), pairs)
