"""int8 codes of weights: of several scales per channel, the one that reconstructs it best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.candidates.saturation import EveryOther, Pairs, neighbours, unsaturated_codes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHT_CODE_MAX, along, channel_axis, float_name, layers
from edgetl.quantization.graph.quant_params import QuantParams, with_quant_params

NARROWER_FACTORS = tuple(np.linspace(0.8, 0.98, 10))  # than the extremes: these are clipped
WEIGHTS_AT_ONCE = 2**18  # weights that are fitted together
FAINT_WEIGHT = 1e-30  # weights that no activation makes anything of
SMALLEST_STEP = 1e-30  # of a step: float32 holds it and its multiples
BIAS_CODES = 2.0**20  # of the bias of a channel without weights
WIDER_FACTORS = tuple(np.linspace(1.04, 2.0, 25))  # where pairs of weights are limited: at twice the scale no pair is


def with_fitted_weights(qdq: onnx.ModelProto, float_model: onnx.ModelProto, pairs: Mapping[str, Pairs]) -> onnx.ModelProto:
    """A QDQ graph whose weights have the least squared error, with biases in the codes that follow from it.

    Args:
        qdq: the graph, weights as the writer leaves them.
        float_model: what it was made from.
        pairs: neighbours to limit, by the name of the codes.
    """
    index, floats = GraphIndex(qdq), GraphIndex(float_model).constants
    stored = index.constants
    weights: dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    for layer in layers(index):
        codes, scale = layer.weight.input[:2]
        bias = floats.get(float_name(layer.bias.input[0])) if layer.bias is not None else None
        if layer.bias is not None and bias is not None:
            biases[layer.bias.input[0]] = bias
        if (values := floats.get(float_name(codes))) is not None:
            axis = channel_axis(layer.weight)
            ours = stored[layer.source.input[1]] if layer.source is not None else np.float32(1)
            reaching = revived(values, stored[scale], axis, bias, ours)
            weights[codes] = (
                _in_pieces(values, reaching, axis, layer.node) if codes in pairs else channel_codes(values, reaching, axis, None)
            )
    return with_quant_params(qdq, QuantParams(weights=weights, biases=biases))


def _in_pieces(
    values: NDArray[np.float32], scale: NDArray[np.float32], axis: int, node: onnx.NodeProto
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """`channel_codes` with the neighbours of `node`; of a large matrix, some channels at a time."""
    if values.ndim != 2 or scale.size == 1 or values.size <= WEIGHTS_AT_ONCE:
        return channel_codes(values, scale, axis, neighbours(node, values.shape))
    codes, found, each = np.empty(values.shape, np.int8), np.empty_like(scale), max(1, WEIGHTS_AT_ONCE * scale.size // values.size)
    for start in range(0, scale.size, each):
        at = slice(start, start + each)
        part = (at, slice(None)) if axis == 0 else (slice(None), at)
        piece = np.ascontiguousarray(values[part])
        pairs = EveryOther() if axis == 0 and piece.shape[1] % 2 == 0 else neighbours(node, piece.shape)
        codes[part], found[at] = channel_codes(piece, scale[at], axis, pairs)
    return codes, found


def revived(
    values: NDArray[np.float32],
    scale: NDArray[np.float32],
    axis: int,
    bias: NDArray[np.float32] | None,
    ours: NDArray[np.float32] | np.float32,
) -> NDArray[np.float32]:
    """`scale`, but where a channel's weights are (next to) 0, one in which its bias has fine codes: its step is `scale` times `ours`."""
    others = tuple(i for i in range(values.ndim) if i != axis) if scale.size > 1 else None
    dead = (np.abs(values).max(axis=others) < FAINT_WEIGHT) | (scale * np.float64(ours) < SMALLEST_STEP)
    largest = np.zeros(scale.shape) if bias is None else np.abs(bias.astype(np.float64)).reshape(-1)
    largest = largest if scale.size > 1 else largest.max()
    fine = np.where(largest > SMALLEST_STEP * BIAS_CODES, largest / BIAS_CODES / np.float64(ours), 1.0)
    found: NDArray[np.float32] = np.where(dead, fine, scale).astype(np.float32).reshape(scale.shape)
    return found


def channel_codes(
    values: NDArray[np.float32], scale: NDArray[np.float32], axis: int, pairs: Pairs | EveryOther | None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes, and a scale for each channel, from multiples of `scale` (which reaches the largest weight or, for a large bias, further)."""
    others = tuple(i for i in range(values.ndim) if i != axis) if scale.size > 1 else None
    largest = np.abs(values).max(axis=others)
    reaches = scale * WEIGHT_CODE_MAX > largest * np.float32(1.001)  # its bias needs the scale
    best_error = np.full(scale.shape, np.inf)
    best = scale
    for factor in (1.0, *NARROWER_FACTORS, *(WIDER_FACTORS if pairs else ())):
        candidate = (scale * np.float32(factor)).astype(np.float32)
        error = (np.square(along(candidate, values.ndim, axis) * coded(values, candidate, axis, pairs) - values)).sum(axis=others)
        better = (error < best_error) & ~(reaches & (factor < 1))
        best, best_error = np.where(better, candidate, best), np.where(better, error, best_error)
    return coded(values, best, axis, pairs).astype(np.int8), best.astype(np.float32)


def coded(values: NDArray[np.float32], scale: NDArray[np.float32], axis: int, pairs: Pairs | EveryOther | None) -> NDArray[np.float32]:
    """Whole numbers in [-127, 127], no pair of neighbours above its limit."""
    return unsaturated_codes(np.clip(np.rint(values / along(scale, values.ndim, axis)), -WEIGHT_CODE_MAX, WEIGHT_CODE_MAX), pairs)
