"""Where the int8 arithmetic of a CPU without VNNI saturates, and weights that cannot make it.

x86 before VNNI multiplies with VPMADDUBSW (Intel SDM, volume 2): the products of two neighbours, uint8 activation times
int8 weight each, are added in 16 bits and saturate there. 255 |a + b| <= 32767 for every pair of weights is enough, whatever
the activations are, and where one activation code can be 255 it is needed. Neighbours are numbers 2i and 2i + 1 of an
output channel's weights in the order in which onnxruntime's kernels take them: rows, columns, input channels of a Conv, the inner
dimension of a matrix product. A depthwise Conv is computed in 32 bits. Both were measured under an emulated CPU, see
`tests/quantization/test_saturation.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.layers import CODES, constants, layers

MOST_PAIR = (2**15 - 1) // CODES  # 128: the largest sum of two weights


@dataclass(frozen=True)
class Pairs:
    """Positions of neighbours in a flattened weight, int64 [pairs] each; empty where nothing saturates."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]


def pairs_of(model: onnx.ModelProto) -> dict[str, Pairs]:
    """The neighbours of each weight of a QDQ graph, by the name of its codes; weights that are exact everywhere are left out."""
    stored = constants(model)
    found: dict[str, Pairs] = {}
    for layer in layers(model):
        name = layer.weight.input[0]
        if (order := kernel_order(layer.node, stored[name].shape)) is not None:
            even = order[:, : order.shape[1] // 2 * 2]
            found[name] = Pairs(even[:, 0::2].ravel(), even[:, 1::2].ravel())
    return found


def kernel_order(node: onnx.NodeProto, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Positions in the flattened weight of `node`, int64 [rows, k]: what is summed up, in order; None: in 32 bits at once."""
    positions = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    attributes = {item.name: item.i for item in node.attribute}
    match node.op_type:
        case "Conv":
            group = attributes.get("group", 1)
            if shape[1] == 1 and shape[0] == group:
                return None  # depthwise
            return np.moveaxis(positions, 1, -1).reshape(shape[0], -1)
        case "Gemm" if attributes.get("transB"):
            return positions
        case _:
            return np.swapaxes(positions, -1, -2).reshape(-1, shape[-2])


def surplus(a: Any, b: Any) -> tuple[Any, Any]:
    """What to take from neighbours `a` and `b`, whole numbers in [-127, 127], half from each; arrays of numpy or torch."""
    total = a + b
    beyond = (abs(total) - MOST_PAIR).clip(min=0)  # only where both have one sign and 1 or more
    sign = (total > 0) * 2 - 1
    return sign * (beyond - beyond // 2), sign * (beyond // 2)


def limited(codes: NDArray[np.float32], pairs: Pairs | None) -> NDArray[np.float32]:
    """`codes` (whole numbers) changed as little as it takes for no pair of neighbours to saturate."""
    if pairs is None:
        return codes
    flat = codes.ravel().copy()
    first, second = surplus(flat[pairs.first], flat[pairs.second])
    flat[pairs.first] -= first
    flat[pairs.second] -= second
    return flat.reshape(codes.shape)


def saturating(model: onnx.ModelProto) -> Mapping[str, int]:
    """Weights of a QDQ graph that can saturate, by the name of their codes: how many pairs can."""
    stored = constants(model)
    counts = {
        name: int(np.count_nonzero(np.abs(flat[pairs.first] + flat[pairs.second]) > MOST_PAIR))
        for name, pairs in pairs_of(model).items()
        if stored[name].dtype == np.int8  # of uint8 times uint8, VPMADDWD adds in 32 bits
        for flat in (stored[name].ravel().astype(np.int32),)
    }
    return {name: count for name, count in counts.items() if count}
