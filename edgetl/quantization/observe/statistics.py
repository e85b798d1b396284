"""Statistics of every activation over a stream of calibration images: extremes, their moving average, a histogram.

The state of a tensor has a fixed size, so memory does not grow with the number of images (onnxruntime's own calibrators
keep what they collect: microsoft/onnxruntime #10503). Images go through one at a time, so that neither the batch size
nor a kernel chosen by it can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import track
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.types import float_values
from edgetl.runtime.engine import start
from edgetl.runtime.foreign.graph import names_read
from edgetl.runtime.model_input import input_of
from edgetl.runtime.session import InputSource

SEEN, MODEL_NAME = "edgetl_seen_", "the model to quantize"
OCTAVES, BINS = 16, 256  # of a histogram: powers of two below the largest value, and bins in each
DROPPED_BITS = 15  # bits of a float32's mantissa that do not tell bins apart: 2^(23 - 15) = BINS
SAMPLE_VALUES = 8_192  # values of one tensor of one image that go into its histogram, at least half as many; extremes take all
MOMENTUM = 0.95  # of the moving averages
FAR_FACTOR = 4.0  # times the usual mean square, beyond which an image's values count less: as if there were fewer, not smaller ones
LARGEST_VALUE = 1e18  # of a value: float32 does not hold the squares of larger ones
JUDGING_EVERY = 4  # every fourth image judges what the others suggest


@dataclass
class Histogram:
    """Counts of values in bins of a relative width: the same values in any order give the same counts.

    A bin holds the values of one sign, one exponent and the same first bits of a mantissa, so that what is usual is resolved
    even where one value is a thousand times larger. Zeros are counted apart, since every range has an exact code for them.

    Attributes:
        counts: float64 [2, OCTAVES * BINS], of positive values and of negative ones; the last octave is that of the largest value,
            and what is below the first one is counted in its first bin.
        end: of the last octave: its exponent, as float32 stores it, plus one.
        zeros: how many values were 0.
    """

    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, OCTAVES * BINS)))
    end: int = 0
    zeros: float = 0.0

    def add(self, values: NDArray[np.float32], weight: float = 1.0) -> None:
        """Count `values`, float32 [n], all finite, each `weight` times."""
        used = values[values != 0]
        self.zeros += weight * (len(values) - len(used))
        if not len(used):
            return
        bits = used.view(np.int32)
        at = (bits & 0x7FFF_FFFF) >> DROPPED_BITS
        self._reach(int(at.max()) // BINS + 1)
        at = np.maximum(at - (self.end - OCTAVES) * BINS, 0) + OCTAVES * BINS * (bits < 0)
        self.counts += weight * np.bincount(at, minlength=self.counts.size).reshape(self.counts.shape)

    def _reach(self, end: int) -> None:
        """Make room for larger values: the smallest ones share a bin."""
        moved = min(max(0, end - self.end), OCTAVES) * BINS
        self.end = max(self.end, end)
        if moved:
            kept = np.zeros_like(self.counts)
            kept[:, : OCTAVES * BINS - moved] = self.counts[:, moved:]
            kept[:, 0] += self.counts[:, :moved].sum(1)
            self.counts = kept

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centers of the bins that hold something, ascending, and how many values each holds; both float64 [bins]."""
        first = (self.end - OCTAVES) * BINS
        bits = np.arange(first, first + OCTAVES * BINS, dtype=np.int32).clip(0) * 2**DROPPED_BITS + 2 ** (DROPPED_BITS - 1)
        centers = bits.astype(np.int32).view(np.float32).astype(np.float64)
        counts = np.concatenate([self.counts[1, ::-1], self.counts[0]])
        used = counts > 0
        return np.concatenate([-centers[::-1], centers])[used], counts[used]

    @property
    def total(self) -> float:
        """All values, zeros included."""
        return float(self.counts.sum()) + self.zeros


@dataclass
class TensorStatistics:
    """Statistics of one tensor.

    Attributes:
        low, high: extremes of all values of all images.
        mean_low, mean_high: moving averages of the extremes of an image.
        fitted, held_out: histograms of disjoint images; the first suggests ranges, the second judges them.
        images: how many images were seen, and how many of them had values other than 0 (`alive`).
        usual: mean logarithm of these images' mean squares.
    """

    low: float = np.inf
    high: float = -np.inf
    mean_low: float = 0.0
    mean_high: float = 0.0
    fitted: Histogram = field(default_factory=Histogram)
    held_out: Histogram = field(default_factory=Histogram)
    images: int = 0
    alive: int = 0
    usual: float = 0.0

    def add(self, low: float, high: float, sample: NDArray[np.float32]) -> None:
        """See one image: the extremes of all its values, and a sample of them, float32 [n]."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        share = MOMENTUM if self.images else 0.0
        self.mean_low = share * self.mean_low + (1 - share) * low
        self.mean_high = share * self.mean_high + (1 - share) * high
        self.images += 1
        if np.isfinite(low) and np.isfinite(high):
            (self.held_out if self.images % JUDGING_EVERY == 0 else self.fitted).add(sample, self._weight(sample))

    def _weight(self, sample: NDArray[np.float32]) -> float:
        """How often the values of an image count: less than once where they are far beyond those of others."""
        with np.errstate(over="ignore"):
            square = float(np.square(sample).mean())
        if not 0 < square < np.inf:
            return 1.0
        self.alive += 1
        self.usual += (np.log(square) - self.usual) / self.alive
        return min(1.0, float(FAR_FACTOR * np.exp(self.usual) / square))


def tensors_beside(index: GraphIndex, op_types: Collection[str]) -> tuple[str, ...]:
    """The float inputs and outputs of operators of these types, in the order of the graph.

    What only a Relu reads is left out: the QDQ writer makes one of the two, and onnxruntime one kernel.
    """
    values, read = float_values(index.model), index.times_read
    cut = {node.input[0] for node in index.nodes if node.op_type == "Relu" and read[node.input[0]] == 1}
    names = (name for node in index.nodes if node.op_type in op_types for name in (*node.input, *node.output))
    return tuple(dict.fromkeys(name for name in names if name in values and name not in cut))


def _answers(model: onnx.ModelProto) -> Iterator[str]:
    """The float outputs that are computed from the image; a file may give a stored tensor as an output, too."""
    computed = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if not computed.isdisjoint(names_read(node)):
            computed.update(node.output)
    for output in model.graph.output:
        if output.name in computed and output.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield output.name


def observe(
    model: onnx.ModelProto, tensors: Iterable[str], source: InputSource, *, batch_size: int, threads: int = 1
) -> dict[str, TensorStatistics]:
    """The statistics of each of `tensors` over all samples of `source`; `batch_size` samples are read at once.

    Raises:
        InputError: no samples, samples that do not fit the model, or activations or outputs that are not finite.
    """
    wanted = tuple(tensors)
    names = tuple(dict.fromkeys([*wanted, *_answers(model)]))
    seen = {name: TensorStatistics() for name in names}
    engine: Any = None
    with track("calibrate", total=len(source), unit="image") as bar:
        for batch in source.batches(batch_size):
            for image in batch.x:
                if engine is None:
                    engine = start(_watched(model, _sizes(model, names, image)), threads=threads, optimize=True)
                    taken = input_of(engine, MODEL_NAME)
                ((feed, _),) = taken.feeds(image[np.newaxis])
                found = engine.run(None, feed)
                for index, name in enumerate(names):
                    low, high, sample = found[3 * index : 3 * index + 3]
                    seen[name].add(float(low), float(high), sample)
            bar.advance(len(batch.x))
    if not all(found.images for found in seen.values()):
        raise InputError("expected at least one calibration image, found none")
    wrong = [name for name, s in seen.items() if not np.isfinite([s.low, s.high, s.mean_low, s.mean_high]).all()]  # means keep a NaN
    if wrong:
        raise InputError(
            f"expected finite activations, found NaN or infinity in {len(wrong)} tensors:\n{listing(wrong)}\nCheck the model and its inputs"
        )
    seen = {name: seen[name] for name in wanted}
    if large := [name for name, found in seen.items() if max(-found.low, found.high) > LARGEST_VALUE]:
        raise InputError(
            f"expected activations up to {LARGEST_VALUE:.0e}, found larger ones in {len(large)} tensors:\n{listing(large)}\n"
            "check the model and its inputs"
        )
    return seen


def _sizes(model: onnx.ModelProto, tensors: Collection[str], image: NDArray[np.float32]) -> dict[str, int]:
    """How many values each tensor has for an image [c, h, w]."""
    nodes = [helper.make_node("Size", [name], [f"{SEEN}{index}"]) for index, name in enumerate(tensors)]
    engine = start(with_outputs(model, nodes, [node.output[0] for node in nodes], TensorProto.INT64), optimize=False)
    ((feed, _),) = input_of(engine, MODEL_NAME).feeds(image[np.newaxis])
    return {name: int(size) for name, size in zip(tensors, engine.run(None, feed), strict=True)}


def _watched(model: onnx.ModelProto, sizes: Mapping[str, int]) -> bytes:
    """The model with three outputs for each tensor: lowest and highest value, and a sample of its values.

    They are taken inside the graph: copying all values out of it and reading them again took longer than computing them.
    """
    nodes: list[onnx.NodeProto] = []
    outputs: list[str] = []
    for index, (name, size) in enumerate(sizes.items()):
        step = max(1, size // SAMPLE_VALUES) | 1  # odd: never in step with rows of even length
        to = f"{SEEN}{index}_"
        for key, value in (("all", -1), ("first", 0), ("last", size), ("step", step)):
            stored = helper.make_tensor(f"{to}{key}", TensorProto.INT64, [1], [value])
            nodes.append(helper.make_node("Constant", [], [f"{to}{key}"], value=stored))
        nodes += [
            helper.make_node("Reshape", [name, f"{to}all"], [f"{to}flat"]),
            helper.make_node("ReduceMin", [f"{to}flat"], [f"{to}low"], keepdims=0),
            helper.make_node("ReduceMax", [f"{to}flat"], [f"{to}high"], keepdims=0),
            helper.make_node("Slice", [f"{to}flat", f"{to}first", f"{to}last", f"{to}first", f"{to}step"], [f"{to}sample"]),
        ]
        outputs += [f"{to}low", f"{to}high", f"{to}sample"]
    return with_outputs(model, nodes, outputs, TensorProto.FLOAT)


def with_outputs(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], outputs: Iterable[str], kind: int) -> bytes:
    """The model with `nodes` more, and other outputs, all of one type."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    del result.graph.value_info[:]
    result.graph.node.extend(nodes)
    result.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name in outputs)
    serialized: bytes = result.SerializeToString()
    return serialized
