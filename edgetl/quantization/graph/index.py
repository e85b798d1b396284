"""A graph, read once: which node makes a value, which nodes read it, what is stored, what is known of shapes.

A pass gets the index of its graph (`passes`), so that no function builds such maps for itself. Each map is made when it is asked for.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgetl.quantization.graph.types import LARGE_TENSOR_NUMBERS, inferred
from edgetl.runtime.foreign.graph import makers, names_read


class Constants(Mapping[str, NDArray[Any]]):
    """Stored tensors by name; large ones are read when they are asked for, since each reading is a copy."""

    def __init__(self, tensors: Iterable[onnx.TensorProto]) -> None:
        self.found = {
            tensor.name: tensor if math.prod(tensor.dims) > LARGE_TENSOR_NUMBERS else numpy_helper.to_array(tensor) for tensor in tensors
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        value = self.found[name]
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class GraphIndex:
    """The maps of one graph, which must not change while they are used.

    Attributes:
        model: the graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """The operators, in the order of the graph."""
        found: Sequence[onnx.NodeProto] = self.model.graph.node
        return found

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The types of its operators."""
        return frozenset(node.op_type for node in self.nodes)

    @cached_property
    def producers(self) -> Mapping[str, onnx.NodeProto]:
        """Value -> the node that makes it; inputs and stored tensors have none."""
        return makers(self.model.graph)

    @cached_property
    def readers(self) -> Mapping[str, list[onnx.NodeProto]]:
        """Value -> the nodes that read it. A node that reads it twice is listed twice. A node also reads what its subgraphs read."""
        found: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in names_read(node):
                found[name].append(node)
        return found

    @cached_property
    def outputs(self) -> frozenset[str]:
        """The names of the graph's outputs."""
        return frozenset(output.name for output in self.model.graph.output)

    @cached_property
    def times_read(self) -> Counter[str]:
        """Value -> how often it is read, by nodes and as an output of the graph."""
        return Counter([*(name for node in self.nodes for name in names_read(node)), *(output.name for output in self.model.graph.output)])

    @cached_property
    def constants(self) -> Constants:
        """The stored tensors, by name."""
        return Constants(self.model.graph.initializer)

    @cached_property
    def shapes(self) -> Mapping[str, list[int]]:
        """Value -> its sizes as far as they can be inferred, 0 elsewhere."""
        graph = inferred(self.model).graph
        known = (*graph.value_info, *graph.input, *graph.output)
        return {value.name: [part.dim_value for part in value.type.tensor_type.shape.dim] for value in known}

    @cached_property
    def quantizers(self) -> Mapping[str, onnx.NodeProto]:
        """Value -> the QuantizeLinear that makes codes of it."""
        return {node.input[0]: node for node in self.nodes if node.op_type == "QuantizeLinear"}

    def producer(self, name: str, kind: str | None = None) -> onnx.NodeProto | None:
        """The node that makes a value; None where there is none, or it is not of type `kind`."""
        node = self.producers.get(name)
        return node if node is not None and kind in (None, node.op_type) else None

    def quantizer_of(self, codes_read: str) -> onnx.NodeProto | None:
        """The QuantizeLinear behind which a DequantizeLinear gives this value; None where it does not come from such a pair."""
        dequantize = self.producer(codes_read, "DequantizeLinear")
        return None if dequantize is None else self.producer(dequantize.input[0], "QuantizeLinear")
