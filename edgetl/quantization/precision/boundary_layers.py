"""First and last layers that stay in float, since int8 kernels save little there and their roundings are much of the noise.

First layers sum a few products for each output. In front of them lies a float image and large maps of few channels, so float kernels
save rounding these; measured on x86 with VNNI (docs/log.md): never slower on five networks, 0.83 for 0.93 of float's time and 3.4 dB
on MobileNetV3-small. A residual network adds block after block to their result, so the first two sums stay in float with them:
ResNet-20's agreement is 0.9904 to 0.9919 for 0.9888 to 0.9899. Last layers, from the last spatial mean on, read a few hundred values;
where they also have few weights, float costs neither time nor bytes, and means and logits are exact: 0.8 dB on ResNet-20.

Not for `portable` and `web`, whose float sums would differ between CPUs (`whole` has some that do not), and not for `arm64`, on which it
was not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.quantization.graph.index import GraphIndex
from edgetl.settings import Target

TARGETS: frozenset[Target] = frozenset({"x86", "x86-avx2"})
MOST_PRODUCTS = 32  # of an output value: 27 for a 3x3 Conv of an image, 9 for a depthwise one
PASSED = frozenset({
    "BatchNormalization", "Clip", "GlobalAveragePool", "HardSigmoid", "HardSwish", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu", "Sigmoid",
    "Transpose",
})  # fmt: skip
MOST_SUMS = 2  # a third one of ResNet-20 took 2% more time, for 0.1 dB
MOST_SHARE = 0.01  # of all weights, that last layers may have
BEHIND_MEAN = frozenset({"Add", "Flatten", "Gemm", "Identity", "MatMul", "Relu", "Reshape", "Softmax", "Squeeze"})
MEANS = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})


def boundary_layers(index: GraphIndex, target: Target) -> tuple[str, ...]:
    """Names of the nodes of a prepared graph that stay in float for `target`."""
    return tuple(dict.fromkeys((*first_layers(index, target), *last_layers(index, target))))


def first_layers(index: GraphIndex, target: Target) -> tuple[str, ...]:
    """From the input on, small Convs, what lies between them, and the residual sums behind them."""
    if target not in TARGETS:
        return ()
    stored, reached = index.constants, {index.model.graph.input[0].name}
    found: list[onnx.NodeProto] = []
    for node in index.nodes:
        if (sums_few(node, stored) or node.op_type in PASSED) and reached & {*node.input} and reached | {*stored, ""} >= {*node.input}:
            found.append(node)
            reached.update(node.output)
    if all(node.op_type != "Conv" for node in found):
        return ()
    return (*(node.name for node in found), *_sums_behind(index, [name for node in found for name in node.output]))


def _sums_behind(index: GraphIndex, values: Iterable[str]) -> tuple[str, ...]:
    """Names of the Adds, and Relus behind them, that carry `values` on: the first `MOST_SUMS`, as long as nothing else computes between."""
    carried, sums = {*values}, set[str]()
    found: list[str] = []
    left = MOST_SUMS
    for node in index.nodes:
        read = {*node.input}
        adds = node.op_type == "Add" and left and carried & read and not index.constants.keys() & read
        if adds or (node.op_type == "Relu" and sums >= read):
            found.append(node.name)
            carried.update(node.output)
            sums.update(node.output)
            left -= node.op_type == "Add"
    return tuple(found)


def sums_few(node: onnx.NodeProto, stored: Mapping[str, NDArray[Any]]) -> bool:
    """Whether it is a Conv of a stored weight whose outputs sum few products each."""
    return node.op_type == "Conv" and node.input[1] in stored and bool(np.prod(stored[node.input[1]].shape[1:]) < MOST_PRODUCTS)


def last_layers(index: GraphIndex, target: Target) -> tuple[str, ...]:
    """From the last spatial mean to the answer, where nothing but the classifier lies between, of a hundredth of all weights at most."""
    if target not in TARGETS:
        return ()
    stored = index.constants
    weights = {node.name: sum(stored[name].size for name in node.input if name in stored) for node in index.nodes}
    found: list[onnx.NodeProto] = []
    name = index.model.graph.output[0].name
    while (node := index.producer(name)) is not None and node.op_type in BEHIND_MEAN | MEANS:
        found.insert(0, node)
        read = [each for each in node.input if each and each not in stored]
        if node.op_type in MEANS or len(read) != 1:
            break
        (name,) = read
    share = sum(weights[node.name] for node in found) / max(1, sum(weights.values()))
    classifies = any(node.op_type in ("Gemm", "MatMul") for node in found)
    return tuple(node.name for node in found) if classifies and share <= MOST_SHARE and found[0].op_type in MEANS else ()
