"""onnxruntime on the CPU: an image classifier's file as a function from inputs to logits.

Files may come from strangers. What cannot be run as `float32 [n, c, h, w] -> float32 [n, k]` is refused before
onnxruntime sees it: external data above all, since it names paths outside the file (CVE-2026-27489).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.runtime.engine import start
from edgetl.runtime.loading import brief, load_proto, refuse_external_data, show
from edgetl.runtime.model_input import InputShape, ModelInput, input_of
from edgetl.runtime.outputs import activation_of, pick_output, require_finite, row_width
from edgetl.tasks.meaning import Activation


class RunError(InputError):
    """A model that does not run on inputs that it says it takes."""


class InputBatch(Protocol):
    """Inputs and, where there are any, labels."""

    @property
    def x(self) -> NDArray[np.float32]:
        """float32 [n, c, h, w]."""
        ...

    @property
    def y(self) -> NDArray[np.int64] | None:
        """int64 [n], or None."""
        ...


class InputSource(Protocol):
    """Inputs that come as a stream of batches (every `data.tensors.TensorSource` is one)."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def batches(self, size: int) -> Iterator[InputBatch]:
        """The samples, in order, `size` at a time."""
        ...


@dataclass
class BatchSupport:
    """Whether runs have shown that a model works for one image at a time alone: some such files say that any number will do."""

    one_by_one: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model that has been opened; `open_session` makes one.

    Attributes:
        name: of the model, for messages.
        threads: onnxruntime's threads inside an operator.
        input: name and shape of the model's only input.
        output_name: the output that `run` gives.
        outputs: k, the width of the output; None where the file does not say.
        activation: the operator that ends the graph, where it says what the outputs mean.
        engine: the onnxruntime session.
        pace: what runs have shown so far.
    """

    name: str
    threads: int
    input: ModelInput
    output_name: str
    outputs: int | None
    activation: Activation | None
    engine: Any
    pace: BatchSupport = field(default_factory=BatchSupport)

    @property
    def input_name(self) -> str:
        """The name of the input."""
        return self.input.name

    @property
    def input_shape(self) -> InputShape:
        """Batch, channels, height, width; None where any size will do."""
        return self.input.shape

    @property
    def batch(self) -> int | None:
        """Images that the model takes at once; None where any number will do, as far as is known."""
        return 1 if self.pace.one_by_one else self.input.shape[0]

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float32 [n, c, h, w] -> finite float32 [n, k]; a model that takes fewer images at once is run as often as it takes.

        Raises:
            InputError: `x` does not fit the model's input, or the model gives no [n, k] for it.
            NotFinite: what it gives holds NaN or infinity.
        """
        outputs = self.compute(x)
        require_finite(outputs, self.name)
        return outputs

    def compute(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `run` (x: float32 [n, c, h, w]), but outputs need not be finite: for inputs that are not images."""
        if not self.pace.one_by_one:
            try:
                return np.concatenate([self._rows(feed)[:count] for feed, count in self.input.feeds(x)])
            except RunError:
                if len(x) < 2:
                    raise
        outputs = np.concatenate([self._rows(feed)[:1] for one in x for feed, _ in self.input.feeds(one[np.newaxis])])
        self.pace.one_by_one = True
        return outputs

    def _rows(self, feed: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        (given,) = feed.values()
        try:
            (output,) = self.engine.run([self.output_name], feed)
        except Exception as error:  # onnxruntime's errors derive from Exception and share no base of their own
            raise RunError(f"{self.name} cannot be run on inputs of shape {show(given.shape)}: {brief(error)}") from error
        if output.ndim < 2 or len(output) != len(given) or any(size != 1 for size in output.shape[2:]):
            found = f"found an output of shape {show(output.shape)}"
            raise RunError(f"expected {self.name} to give one row per image, [{len(given)}, k], {found}")
        rows: NDArray[np.float32] = output.reshape(len(given), output.shape[1])
        return rows


def open_session(
    path: Path,
    *,
    threads: int = 1,
    optimize: bool = True,
    profile: Path | None = None,
    output: str | None = None,
    classes: int | None = None,
) -> Session:
    """Open an ONNX file under onnxruntime's CPU provider.

    Args:
        path: the file.
        threads: threads inside an operator.
        optimize: whether onnxruntime may fuse operators (what apps get); without, it runs the graph as written.
        profile: beginning of the name of the file that `engine.end_profiling()` writes.
        output: the name of the output, for a file with several.
        classes: how many there are: the output with that many numbers is taken.

    Raises:
        InputError: no ONNX, external data, not exactly one float NCHW input, no float [n, k] output or several that fit, or
            an operator that onnxruntime's CPU provider does not have.
    """
    model = load_proto(path)
    refuse_external_data(model, path)
    engine = start(path, threads=threads, optimize=optimize, profile=profile)
    return _opened(engine, model, path.name, threads, output=output, classes=classes)


def open_graph(model: onnx.ModelProto, *, threads: int = 1, name: str = "the model", output: str | None = None) -> Session:
    """Open a classifier that is in memory; `name` is its name in messages. Otherwise as `open_session`."""
    return _opened(start(model.SerializeToString(), threads=threads, name=name), model, name, threads, output=output)


def _opened(
    engine: Any, model: onnx.ModelProto, name: str, threads: int, *, output: str | None = None, classes: int | None = None
) -> Session:
    taken, given = input_of(engine, name), pick_output(engine.get_outputs(), model, name, output=output, width=classes)
    return Session(
        name=name,
        threads=threads,
        input=taken,
        output_name=given.name,
        outputs=row_width(given),
        activation=activation_of(model, given.name),
        engine=engine,
    )
