"""Nodes and constants of a graph, as they are written one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

NAME = "edgetl_image"  # names of values begin so


@dataclass(frozen=True)
class GraphBuilder:
    """Nodes and constants, as they are written; names of values begin with `prefix`."""

    prefix: str = NAME
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: dict[str, NDArray[Any]] = field(default_factory=dict)

    def node(self, kind: str, *inputs: str | NDArray[Any], output: str | None = None, **attributes: Any) -> str:
        """One more node, whose arrays become constants; the name of its output."""
        name = output or f"{self.prefix}_{len(self.nodes)}"
        given = [
            each if isinstance(each, str) else self._constant(f"{self.prefix}_{len(self.nodes)}_{i}", each) for i, each in enumerate(inputs)
        ]
        self.nodes.append(helper.make_node(kind, given, [name], **attributes))
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.values[name] = value
        return name
