"""How much work a graph is: counted from its shapes, so that the same graph and images are the same work on every machine.

Multiply-adds of layers, and values that operators write: at 224 pixels a depthwise Conv spends its time on memory, not on products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetl.quantization.graph.editing import attributes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.quantization.graph.types import float_values
from edgetl.quantization.observe.statistics import MODEL_NAME, with_outputs
from edgetl.runtime.engine import start
from edgetl.runtime.model_input import input_of

SHAPE = "edgetl_shape_"
MOMENT_ROWS = 8192  # inputs of a layer that its second moments are taken from
MOST_INPUTS = 4608  # of an output, 512 channels of 3x3: the work grows with the third power; wider layers keep the nearest codes
PRODUCTS_A_VALUE = 45  # multiply-adds that take as long as a value that is read, changed and written
DEPTHWISE_FACTOR = 20  # how much longer a multiply-add takes in a Conv of one channel a group, which no matrix product is
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one forward pass of one image.

    Attributes:
        products: multiply-adds of Conv, Gemm and MatMul; those of a depthwise Conv count as what they cost.
        values: numbers that operators write.
        rounding: multiply-adds of the second-order rounding of all weights, once.
    """

    products: int
    values: int
    rounding: int

    @property
    def one_pass(self) -> int:
        """One forward pass, in multiply-adds."""
        return self.products + PRODUCTS_A_VALUE * self.values

    @staticmethod
    def of(model: onnx.ModelProto, image: NDArray[np.float32]) -> Work:
        """The work of a float graph for an image [c, h, w]."""
        stored = {name: value.shape for name, value in GraphIndex(model).constants.items()}
        floats = float_values(model)
        made = [name for node in model.graph.node for name in node.output if name in floats]
        layers = [node for node in model.graph.node if node.op_type in WEIGHTED]
        around = [name for node in layers for name in (*node.input[:2], *node.output) if name not in stored]
        found, batch = shapes_of(model, dict.fromkeys([*made, *around]), image)
        shapes = {**stored, **found}
        return Work(
            products=sum(products_of(node, shapes) for node in layers) // batch,
            values=sum(prod(shapes[name]) for name in made) // batch,
            rounding=sum(rounding_of(node, shapes[node.input[1]]) for node in layers if node.input[1] in stored),
        )


def products_of(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Multiply-adds of a Conv, Gemm or MatMul: values written times products in each."""
    weight, written = shapes[node.input[1]], prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return written * prod(weight[1:]) * (DEPTHWISE_FACTOR if weight[1] == 1 and weight[0] > 1 else 1)
    transposed = attributes(node).get("transB")
    return written * (weight[-1] if transposed else weight[-2 if len(weight) > 1 else 0])


def rounding_of(node: onnx.NodeProto, weight: tuple[int, ...]) -> int:
    """Multiply-adds of the second-order rounding of a layer: second moments, factorizations, errors handed on."""
    given = attributes(node)
    groups = given.get("group", 1) if node.op_type == "Conv" else 1
    inputs = prod(weight[1:]) if node.op_type == "Conv" or given.get("transB") else weight[0]
    if inputs > MOST_INPUTS or len(weight) not in (2, 4):
        return 0
    return int(groups * (MOMENT_ROWS * inputs**2 + 2 * inputs**3) + prod(weight) * inputs)


def shapes_of(model: onnx.ModelProto, names: Iterable[str], image: NDArray[np.float32]) -> tuple[dict[str, tuple[int, ...]], int]:
    """The shapes of values for an image [c, h, w], as onnxruntime has them, and how many images a fixed batch makes of it."""
    wanted = tuple(names)
    nodes = [helper.make_node("Shape", [name], [f"{SHAPE}{index}"]) for index, name in enumerate(wanted)]
    engine = start(with_outputs(model, nodes, [node.output[0] for node in nodes], TensorProto.INT64), optimize=False)
    taken = input_of(engine, MODEL_NAME)
    ((feed, _),) = taken.feeds(image[np.newaxis])
    return {name: tuple(map(int, shape)) for name, shape in zip(wanted, engine.run(None, feed), strict=True)}, taken.shape[0] or 1
