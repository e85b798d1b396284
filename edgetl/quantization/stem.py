"""First layers that stay in float: each of their outputs sums a few products only, which int8 kernels do not do faster.

In front of them lies a float image and large maps of few channels, so float kernels save rounding these, and much of the noise. Measured on
x86 with VNNI (docs/log.md): never slower on five networks, 0.83 for 0.93 of float's time and 3.4 dB on MobileNetV3-small. Not for
`portable` and `web`, whose graphs stay in integers where they can, and not for `arm64`, on which it was not measured.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgetl.quantization.layers import constants
from edgetl.settings import Target

TARGETS: frozenset[Target] = frozenset({"x86", "x86-avx2"})
PRODUCTS = 32  # of an output value: 27 for a 3x3 Conv of an image, 9 for a depthwise one
PASSED = frozenset({
    "BatchNormalization", "Clip", "GlobalAveragePool", "HardSigmoid", "HardSwish", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu", "Sigmoid",
    "Transpose",
})  # fmt: skip


def stem(model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
    """Names of the nodes of a prepared graph that stay in float for `target`: from the input on, small Convs and what lies between them.

    None where a residual Add reads their result: onnxruntime's int8 Convs have channels last, and behind a float value that goes to
    both a Conv and an Add it turned layouts to and fro, 18 times on ResNet-20, which cost more than was won.
    """
    if target not in TARGETS:
        return ()
    stored, reached = constants(model), {model.graph.input[0].name}
    found: list[onnx.NodeProto] = []
    for node in model.graph.node:
        small = node.op_type == "Conv" and node.input[1] in stored and np.prod(stored[node.input[1]].shape[1:]) < PRODUCTS
        if (small or node.op_type in PASSED) and reached & {*node.input} and reached | {*stored, ""} >= {*node.input}:
            found.append(node)
            reached.update(node.output)
    result = tuple(node.name for node in found)
    turned = any(node.op_type == "Add" and reached & {*node.input} for node in model.graph.node)
    return result if not turned and any(node.op_type == "Conv" for node in found) else ()
