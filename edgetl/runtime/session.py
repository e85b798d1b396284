"""onnxruntime on the CPU: an image classifier's file as a function from inputs to logits.

Files may come from strangers. What cannot be run as `float32 [n, c, h, w] -> float32 [n, k]` is refused before
onnxruntime sees it: external data above all, since it names paths outside the file (CVE-2026-27489).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.preprocess_rules import MOST_CHANNELS
from edgetl.runtime.loading import brief, load_proto, refuse_external_data, show
from edgetl.runtime.outputs import activation_of, pick_output, require_finite, row_width
from edgetl.tasks.meaning import Activation

Shape = tuple[int | None, ...]  # None: any size
LARGE = 2**23  # bytes of a model in memory, beyond which they go through a file
QUIET = 4  # onnxruntime's severity "fatal": errors reach us as exceptions


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
    shape: Shape

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


@dataclass
class Pace:
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
    pace: Pace = field(default_factory=Pace)

    @property
    def input_name(self) -> str:
        """The name of the input."""
        return self.input.name

    @property
    def input_shape(self) -> Shape:
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
        """As `run`, whatever the numbers are: for inputs that are no images."""
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


def start(model: Path | bytes, *, threads: int = 1, optimize: bool = True, profile: Path | None = None, name: str = "the model") -> Any:
    """A bare onnxruntime session on the CPU provider, quiet; `name` is what messages call a model in memory.

    Raises:
        InputError: onnxruntime does not take the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1:  # waiting threads that spin keep CPUs from other work, and from each other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    name = name if isinstance(model, bytes) else model.name
    try:
        with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
            given = in_file(model, Path(folder)) if isinstance(model, bytes) else _openable(model)
            del model
            return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors derive from Exception and share no base of their own
        refused = f"it refused {name}: {brief(error)}"
        raise InputError(f"expected a model that onnxruntime {ort.__version__} runs on a CPU, {refused}{_older(str(error))}") from error


def in_file(model: bytes, folder: Path) -> str | bytes:
    """A model in memory as onnxruntime is given it: a large one as a file in `folder`, since a session keeps bytes as long as it lives."""
    if len(model) <= LARGE:
        return model
    written = folder / "model.onnx"
    written.write_bytes(model)
    return str(written)


def _older(message: str) -> str:
    """What to do where onnxruntime says that a file is too new for it."""
    if re.search(r"opset|IR version|ir_version", message, re.IGNORECASE):
        return ". Export it for an older version, for example torch.onnx.export(..., opset_version=20), or install a newer onnxruntime"
    return ""


def _openable(model: Path) -> str | bytes:
    """The path, or the file's bytes where the path is no UTF-8, which is all that onnxruntime takes."""
    try:
        str(model).encode()
    except UnicodeEncodeError:
        return model.read_bytes()
    return str(model)


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
