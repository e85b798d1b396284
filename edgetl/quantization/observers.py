"""What calibration images show of every activation, as a stream: extremes, their moving average, a histogram.

The state of a tensor has a fixed size, so memory does not grow with the number of images (onnxruntime's own calibrators
keep what they collect: microsoft/onnxruntime #10503). Images go through one at a time, so that neither the batch size
nor a kernel chosen by it can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import track
from edgetl.quantization.prepare import float_values
from edgetl.runtime.session import InputSource, input_of, start

SEEN = "edgetl_seen_"
HALF = 2048  # bins on either side of zero
SAMPLE = 16_384  # values of one tensor of one image that go into its histogram, at least half as many; extremes take all
MOMENTUM = 0.95  # of the moving averages
HELD_OUT = 4  # every fourth image judges what the others suggest


@dataclass
class Histogram:
    """Counts of values in bins whose width is a power of two: the same values in any order give the same counts.

    Zeros are counted apart, since every range has an exact code for them.

    Attributes:
        counts: int64 [2 * HALF]; bin i holds the values in [i - HALF, i - HALF + 1) times the width.
        exponent: of the width, base 2.
        zeros: how many values were 0.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))
    exponent: int = -126
    zeros: int = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count `values`, float32 [n], all finite; the bins widen in pairs until the largest has one."""
        used = values[values != 0]
        self.zeros += len(values) - len(used)
        if not len(used):
            return
        largest = float(np.abs(used).max())
        wanted = int(np.frexp(largest / HALF)[1])  # largest / HALF < 2^wanted
        if not self.counts.any():
            self.exponent = max(wanted, self.exponent)
        while self.exponent < wanted:
            self._widen()
        at = np.floor(used * np.float32(2.0**-self.exponent)).astype(np.int64) + HALF
        self.counts += np.bincount(at, minlength=2 * HALF)

    def _widen(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(1)  # zero lies on the border of two pairs
        self.counts = np.zeros(2 * HALF, np.int64)
        self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
        self.exponent += 1

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Centers of the bins that hold something, and how many values each holds."""
        (at,) = np.nonzero(self.counts)
        return (at - HALF + 0.5).astype(np.float64) * 2.0**self.exponent, self.counts[at]

    @property
    def total(self) -> int:
        """All values, zeros included."""
        return int(self.counts.sum()) + self.zeros


@dataclass
class Seen:
    """What was seen of one tensor.

    Attributes:
        low, high: extremes of all values of all images.
        mean_low, mean_high: moving averages of the extremes of an image.
        fitted, held_out: histograms of disjoint images; the first suggests ranges, the second judges them.
        images: how many images were seen.
    """

    low: float = np.inf
    high: float = -np.inf
    mean_low: float = 0.0
    mean_high: float = 0.0
    fitted: Histogram = field(default_factory=Histogram)
    held_out: Histogram = field(default_factory=Histogram)
    images: int = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """See one image's values, float32 of any shape."""
        flat = values.ravel()
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        share = MOMENTUM if self.images else 0.0
        self.mean_low = share * self.mean_low + (1 - share) * low
        self.mean_high = share * self.mean_high + (1 - share) * high
        self.images += 1
        if np.isfinite(low) and np.isfinite(high):
            step = max(1, len(flat) // SAMPLE) | 1  # odd: never in step with rows of even length
            (self.held_out if self.images % HELD_OUT == 0 else self.fitted).add(flat[::step])


def tensors_beside(model: onnx.ModelProto, op_types: Collection[str]) -> tuple[str, ...]:
    """The float inputs and outputs of operators of these types, in the order of the graph."""
    values = float_values(model)
    names = (name for node in model.graph.node if node.op_type in op_types for name in (*node.input, *node.output))
    return tuple(dict.fromkeys(name for name in names if name in values))


def observe(model: onnx.ModelProto, tensors: Iterable[str], source: InputSource, *, batch_size: int, threads: int = 1) -> dict[str, Seen]:
    """What is seen of each of `tensors` over all samples of `source`; `batch_size` samples are read at once.

    Raises:
        InputError: no samples, samples that do not fit the model, or activations that are not finite.
    """
    names = tuple(tensors)
    engine = start(_watched(model, names), threads=threads, optimize=False)
    taken = input_of(engine, "the model to quantize")
    seen = {name: Seen() for name in names}
    with track("calibrate", total=len(source), unit="image") as bar:
        for batch in source.batches(batch_size):
            for image in batch.x:
                ((feed, _),) = taken.feeds(image[np.newaxis])
                for name, values in zip(names, engine.run(None, feed), strict=True):
                    seen[name].add(values)
            bar.advance(len(batch.x))
    if not all(found.images for found in seen.values()):
        raise InputError("expected at least one calibration image, found none")
    wrong = [name for name, found in seen.items() if not np.isfinite([found.low, found.high]).all()]
    if wrong:
        raise InputError(
            f"expected finite activations, found NaN or infinity in {len(wrong)} tensors:\n{listing(wrong)}\ncheck the model and its inputs"
        )
    return seen


def _watched(model: onnx.ModelProto, tensors: Collection[str]) -> bytes:
    """The model with `tensors` as its outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    del watched.graph.value_info[:]
    for index, name in enumerate(tensors):
        watched.graph.node.append(helper.make_node("Identity", [name], [f"{SEEN}{index}"]))  # also of the input, which is no output
        watched.graph.output.append(helper.make_tensor_value_info(f"{SEEN}{index}", onnx.TensorProto.FLOAT, None))
    serialized: bytes = watched.SerializeToString()
    return serialized
