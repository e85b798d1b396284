"""The input of a model: its name, its shape, and batches as the model takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.preprocess_rules import MOST_CHANNELS
from edgetl.runtime.loading import show

InputShape = tuple[int | None, ...]  # None: any size


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """The only input of a model.

    Attributes:
        model: the model's name, for messages.
        name: of the input.
        shape: batch, channels, height, width; None where any size will do.
    """

    model: str
    name: str
    shape: InputShape

    def feeds(self, x: NDArray[np.float32]) -> Iterator[tuple[dict[str, NDArray[np.float32]], int]]:
        """`x` float32 [n, c, h, w] as the model takes it, and how many rows of each answer count.

        A fixed batch is filled up with copies of the last image.

        Raises:
            InputError: `x` does not fit, with the shape expected and the shape found.
        """
        fits = x.ndim == 4 and len(x) > 0 and all(want in (None, have) for want, have in zip(self.shape[1:], x.shape[1:], strict=True))
        if not fits or x.dtype != np.float32:
            expected = f"expected float32 inputs of shape {show(('n', *self.shape[1:]))} for {self.model}"
            raise InputError(f"{expected}, found {x.dtype} of shape {show(x.shape)}: {self._advice(x)}")
        size = self.shape[0] or len(x)
        for begin in range(0, len(x), size):
            part = x[begin : begin + size]
            filling = np.repeat(part[-1:], size - len(part), axis=0)
            yield {self.name: np.ascontiguousarray(np.concatenate([part, filling]) if len(filling) else part)}, len(part)

    def _advice(self, x: NDArray[Any]) -> str:
        """What to do about inputs that do not fit."""
        channels, height, width = self.shape[1:]
        last = x.ndim == 4 and all(want in (None, have) for want, have in zip((height, width, channels), x.shape[1:], strict=True))
        return "they are channels last, give x.transpose(0, 3, 1, 2)" if last else "prepare the images as this model was trained"


def input_of(engine: Any, model: str) -> ModelInput:
    """The input of an onnxruntime session; `model` is its name in messages.

    Raises:
        InputError: not exactly one input, or one that does not take float images [n, c, h, w].
    """
    inputs = engine.get_inputs()
    if len(inputs) != 1:
        found = ", ".join(node.name for node in inputs) or "none"
        raise InputError(f"expected {model} to have one input, found {len(inputs)}: {found}")
    node = inputs[0]
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    if node.type != "tensor(float)" or len(shape) != 4:
        raise InputError(f"expected {model} to take float images [n, c, h, w], found {node.name}: {node.type} {show(node.shape)}")
    if (shape[1] or 0) > MOST_CHANNELS and 0 < (shape[3] or 0) <= MOST_CHANNELS:
        raise InputError(f"expected {model} to take images as [n, c, h, w], found channels last, {show(node.shape)}: export it as NCHW")
    return ModelInput(model=model, name=node.name, shape=shape)
