"""Where the int8 arithmetic of a CPU without VNNI saturates, and weights that cannot make it.

x86 before VNNI multiplies with VPMADDUBSW (Intel SDM, volume 2): the products of two neighbours, uint8 activation times
int8 weight each, are added in 16 bits and saturate there. 255 |a + b| <= 32767 for every pair of weights is enough, whatever
the activations are, and where one activation code can be 255 it is needed. Neighbours are numbers 2i and 2i + 1 of an
output channel's weights in the order in which onnxruntime's kernels take them: rows, columns, input channels of a Conv, the inner
dimension of a matrix product. A depthwise Conv is computed in 32 bits. Both were measured under an emulated CPU, see
`tests/quantization/candidates/test_saturation.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import UINT8_MAX, layers

PAIR_SUM_MAX = (2**15 - 1) // UINT8_MAX  # 128: the largest sum of two weights


@dataclass(frozen=True)
class Pairs:
    """Positions of neighbours in a flattened weight, int64 [pairs] each; empty where nothing saturates."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]


class EveryOther:
    """Neighbours in a matrix of an even number of columns that is summed row by row."""

    first, second = slice(0, None, 2), slice(1, None, 2)


class Neighbours(Mapping[str, Pairs]):
    """The neighbours of weights, by the name of their codes; made when they are asked for: they are twice as large as float weights."""

    def __init__(self, layers_of: Mapping[str, tuple[onnx.NodeProto, tuple[int, ...]]]) -> None:
        """From each weight's operator and shape."""
        self.layers = layers_of

    def __getitem__(self, name: str) -> Pairs:
        found = neighbours(*self.layers[name])
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def pairs_of(model: onnx.ModelProto) -> Neighbours:
    """The neighbours of each weight of a QDQ graph, by the name of its codes; weights that are exact everywhere are left out."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {layer.weight.input[0]: (layer.node, shapes[layer.weight.input[0]]) for layer in layers(GraphIndex(model))}
    return Neighbours({name: layer for name, layer in found.items() if not _depthwise(*layer)})


def neighbours(node: onnx.NodeProto, shape: tuple[int, ...]) -> Pairs | None:
    """Those in a weight of so many numbers; None where it is summed in 32 bits."""
    if (order := kernel_order(node, shape)) is None:
        return None
    even = order[:, : order.shape[1] // 2 * 2]
    return Pairs(even[:, 0::2].ravel(), even[:, 1::2].ravel())


def _depthwise(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    group = next((item.i for item in node.attribute if item.name == "group"), 1)
    return node.op_type == "Conv" and shape[1] == 1 and shape[0] == group


def kernel_order(node: onnx.NodeProto, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Positions in the flattened weight of `node`, int64 [rows, k]: what is summed up, in order; None: in 32 bits at once."""
    if _depthwise(node, shape):
        return None
    return kernel_rows(node, np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape))


def kernel_rows(node: onnx.NodeProto, values: NDArray[Any]) -> NDArray[Any]:
    """The weight of `node` as [rows, k]: what is summed up, in order."""
    match node.op_type:
        case "Conv":
            return np.moveaxis(values, 1, -1).reshape(len(values), -1)
        case "Gemm" if any(item.i for item in node.attribute if item.name == "transB"):
            return values
        case _:
            return np.swapaxes(values, -1, -2).reshape(-1, values.shape[-2])


def surplus(a: Any, b: Any) -> tuple[Any, Any]:
    """What to take from neighbours `a` and `b`, whole numbers in [-127, 127], half from each; arrays of numpy or torch."""
    total = a + b
    beyond = (abs(total) - PAIR_SUM_MAX).clip(min=0)  # only where both have one sign and 1 or more
    sign = (total > 0) * 2 - 1
    return sign * (beyond - beyond // 2), sign * (beyond // 2)


def unsaturated_codes(codes: NDArray[np.float32], pairs: Pairs | EveryOther | None) -> NDArray[np.float32]:
    """`codes` (whole numbers) changed as little as it takes for no pair of neighbours to saturate."""
    if pairs is None:
        return codes
    flat = codes.ravel().copy()
    first, second = flat[pairs.first], flat[pairs.second]
    beyond = np.flatnonzero(np.abs(first + second) > PAIR_SUM_MAX)  # few
    ours, theirs = surplus(first[beyond], second[beyond])
    first[beyond] -= ours
    second[beyond] -= theirs
    flat[pairs.first], flat[pairs.second] = first, second
    return flat.reshape(codes.shape)


def saturating(model: onnx.ModelProto) -> Mapping[str, int]:
    """Weights of a QDQ graph that can saturate, by the name of their codes: how many pairs can."""
    stored = GraphIndex(model).constants
    counts: dict[str, int] = {}
    for name, (node, _) in pairs_of(model).layers.items():
        if (codes := stored[name]).dtype == np.int8:  # of uint8 times uint8, VPMADDWD adds in 32 bits
            rows = kernel_rows(node, codes)
            first, second = rows[:, 0 : rows.shape[1] // 2 * 2 : 2], rows[:, 1::2]
            counts[name] = int(np.count_nonzero(np.abs(np.add(first, second, dtype=np.int16)) > PAIR_SUM_MAX))
    return {name: count for name, count in counts.items() if count}
