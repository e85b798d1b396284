"""Resizing as Pillow does it, in plain ONNX operators: a matrix of weights for each axis, made in the graph from the picture's size.

Pillow resizes 8-bit pictures in two passes, columns first, and rounds to whole numbers after each. A pass is a product with a matrix: a
row of it holds the filter around one new pixel, widened by the scale where the picture shrinks (antialias), cut off at the borders and
normalized to 1 (Pillow's src/libImaging/Resample.c). ONNX's own Resize has an antialias since opset 18, but its `linear` keeps weight
beyond the borders (measured: the outermost rows differ from Pillow's by up to 16 levels), and it has no Lanczos filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgetl.bundle.graph_writing import GraphBuilder
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair

CUBIC = -0.5  # a of Keys 1981, "Cubic convolution interpolation for digital image processing"
LOBES = 3.0  # of Lanczos
TINY = 1e-9  # below, sin(x) / x is 1
AXES_ARE_INPUTS = 13  # opset of ReduceSum
Value = str | NDArray[Any]


def whole(number: int) -> NDArray[np.int64]:
    """A constant of the graph: sizes and places."""
    return np.array(number, np.int64)


def real(number: float) -> NDArray[np.float64]:
    """A constant of the graph: what is computed from them, in float64."""
    return np.array(number, np.float64)


@dataclass(frozen=True)
class Axis:
    """One axis of a picture, in single numbers of the graph.

    Attributes:
        length: of the picture, int64.
        scaled: of the whole picture once it is resized, int64.
        first: which of the resized pixels is the first that the network sees, float64; negative in a band.
        size: how many it sees.
    """

    length: str
    scaled: Value
    first: Value
    size: int


@dataclass(frozen=True)
class Resizing:
    """Writes the nodes from a picture of any size to what the network sees of it.

    Attributes:
        written: where they go.
        preprocess: says how.
        opset: of the graph.
    """

    written: GraphBuilder
    preprocess: Preprocess
    opset: int

    def pixels(self, image: str) -> str:
        """From uint8 [1, any height, any width, channels] to uint8 [1, channels, height, width].

        Differs from Pillow only where a sum lies so near to half a level that another order of adding decides.
        """
        node, preprocess = self.written.node, self.preprocess
        down, across = self._axes(image)
        planes = node("Cast", node("Transpose", image, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        narrow = self._levels(node("MatMul", planes, self._weights(across, (1, -1))))
        resized = self._levels(node("MatMul", self._weights(down, (-1, 1)), narrow))
        if preprocess.fit == "pad":
            inside = node("And", self._inside(down, (-1, 1)), self._inside(across, (1, -1)))
            resized = node("Where", inside, resized, np.array(preprocess.fill, np.float32))
        return node("Cast", resized, to=TensorProto.UINT8)

    def _axes(self, image: str) -> tuple[Axis, Axis]:
        """Height and width: how long they become and which part is seen (`Preprocess.scaled`, `crop` and `_banded`)."""
        node, preprocess = self.written.node, self.preprocess
        sizes, rectangle = pair(preprocess.size), pair(preprocess.resize)
        shape = node("Shape", image)
        lengths = node("Gather", shape, whole(1)), node("Gather", shape, whole(2))
        found = []
        for size, room, length, scaled in zip(sizes, rectangle, lengths, self._scaled(*lengths), strict=True):
            first: Value = self._half(scaled, whole(size))
            if preprocess.fit == "pad":
                first = node("Sub", real(round((room - size) / 2)), self._half(whole(room), scaled))
            found.append(Axis(length=length, scaled=scaled, first=first, size=size))
        return found[0], found[1]

    def _scaled(self, height: str, width: str) -> tuple[Value, Value]:
        """Height and width of the whole picture once it is resized, int64."""
        node = self.written.node
        rows, columns = map(whole, pair(self.preprocess.resize))
        if self.preprocess.fit == "squash":
            return rows, columns
        by_height, by_width = node("Mul", height, columns), node("Mul", width, rows)
        wider = node("Less", by_height, by_width)
        if self.preprocess.fit == "crop":  # whole numbers: division rounds down
            return (
                node("Where", wider, rows, node("Div", by_height, width)),
                node("Where", wider, node("Div", by_width, height), columns),
            )
        return (
            node("Where", wider, self._at_least_one(by_height, width), rows),
            node("Where", wider, columns, self._at_least_one(by_width, height)),
        )

    def _at_least_one(self, above: str, below: str) -> str:
        """The quotient of whole numbers, halves to the even number, 1 at least."""
        node = self.written.node
        quotient = node("Round", node("Div", self._real(above), self._real(below)))
        return node("Cast", node("Max", quotient, real(1)), to=TensorProto.INT64)

    def _half(self, a: Value, b: Value) -> str:
        """Half of a - b, halves to the even number, float64."""
        node = self.written.node
        return node("Round", node("Mul", self._real(node("Sub", a, b)), real(0.5)))

    def _weights(self, axis: Axis, shape: tuple[int, int]) -> str:
        """The matrix of an axis, float32: new pixels along the -1 of `shape`, those of the picture along the other."""
        node, across = self.written.node, shape[0] == 1
        scale = node("Div", self._real(axis.length), self._real(axis.scaled))
        centers = node("Mul", node("Add", self._places(axis, shape), real(0.5)), scale)
        old = node("Reshape", node("Range", whole(0), axis.length, whole(1)), np.array(shape[::-1], np.int64))
        middles = node("Add", self._real(old), real(0.5))
        raw = self._filter(node("Div", node("Sub", middles, centers), node("Max", scale, real(1))))
        along = 0 if across else 1
        if self.opset >= AXES_ARE_INPUTS:
            total = node("ReduceSum", raw, np.array([along], np.int64), keepdims=1)
        else:
            total = node("ReduceSum", raw, axes=[along], keepdims=1)
        return node("Cast", node("Div", raw, total), to=TensorProto.FLOAT)

    def _filter(self, x: str) -> str:
        """The filter at distances, in its own unit: float64 as they are."""
        node = self.written.node
        match self.preprocess.filter:
            case "bilinear":
                return node("Max", node("Sub", real(1), node("Abs", x)), real(0))
            case "bicubic":
                near, far = (1, 0, -(CUBIC + 3), CUBIC + 2), (-4 * CUBIC, 8 * CUBIC, -5 * CUBIC, CUBIC)
                distance = node("Min", node("Abs", x), real(2))
                inside = node("Less", distance, real(1))
                return node("Where", inside, self._polynomial(distance, near), self._polynomial(distance, far))
            case _:
                within = node("Min", node("Max", x, real(-LOBES)), real(LOBES))
                return node("Mul", self._sinc(within), self._sinc(node("Div", within, real(LOBES))))

    def _polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        """c0 + c1 x + c2 x^2 + c3 x^3, by Horner's rule."""
        node = self.written.node
        *rest, last = coefficients
        result: Value = real(last)
        for coefficient in reversed(rest):
            result = node("Add", node("Mul", result, x), real(coefficient))
        return str(result)

    def _sinc(self, x: str) -> str:
        """sin(pi x) / (pi x), 1 at 0."""
        node = self.written.node
        angle = node("Mul", x, real(np.pi))
        return node("Where", node("Less", node("Abs", angle), real(TINY)), real(1), node("Div", node("Sin", angle), angle))

    def _places(self, axis: Axis, shape: tuple[int, int]) -> str:
        """Which resized pixels the network sees, float64 of `shape`."""
        return self.written.node("Add", np.arange(axis.size, dtype=np.float64).reshape(shape), axis.first)

    def _inside(self, axis: Axis, shape: tuple[int, int]) -> str:
        """Whether these are pixels of the picture and not of a band."""
        node = self.written.node
        places = self._places(axis, shape)
        return node("And", node("Less", places, self._real(axis.scaled)), node("Less", real(-1), places))

    def _levels(self, x: str) -> str:
        """Rounded as Pillow does, halves up, to 0 to 255: float32."""
        node = self.written.node
        rounded = node("Floor", node("Add", x, np.array(0.5, np.float32)))
        return node("Clip", rounded, np.array(0, np.float32), np.array(255, np.float32))

    def _real(self, x: Value) -> Value:
        """As float64."""
        return self.written.node("Cast", x, to=TensorProto.DOUBLE) if isinstance(x, str) else x.astype(np.float64)
