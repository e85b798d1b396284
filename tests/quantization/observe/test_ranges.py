"""Laws of the streaming observer."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetl.core.errors import InputError
from edgetl.quantization.candidates.qdq import write_qdq
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.observe.ranges import Range, clip_range, consumed_range, extremes
from edgetl.quantization.observe.statistics import observe, tensors_beside
from edgetl.quantization.prepare.prepare import prepare_graph


def observed(path: Path, source: Any, batch_size: int = 8) -> dict[str, Range]:
    model = prepare_graph(path)
    seen = observe(model, tensors_beside(GraphIndex(model), INT8_OPS), source, batch_size=batch_size)
    return {name: extremes(found) for name, found in seen.items()}


def test_ranges_and_graph_equal_those_of_quantize_static_minmax(small: Path, noise: Any, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter([{"input": noise(12).image(i)[None]} for i in range(12)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    prepared = prepare_graph(small)
    onnx.save(prepared, tmp_path / "prepared.onnx")
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(
        tmp_path / "prepared.onnx", tmp_path / "peer.onnx", Reader(), op_types_to_quantize=list(INT8_OPS), per_channel=True, **types
    )
    ours = write_qdq(prepared, observed(small, noise(12)))
    theirs = onnx.load(tmp_path / "peer.onnx")
    found, wanted = ({t.name: numpy_helper.to_array(t) for t in graph.graph.initializer} for graph in (ours, theirs))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():  # kernels that fuse round otherwise in the last bits
        np.testing.assert_allclose(found[name].astype(np.float64), value.astype(np.float64), rtol=1e-5, atol=0)
    assert [n.SerializeToString() for n in ours.graph.node] == [n.SerializeToString() for n in theirs.graph.node]


def test_the_batch_size_does_not_matter(small: Path, noise: Any) -> None:
    assert observed(small, noise(10), 1) == observed(small, noise(10), 4) == observed(small, noise(10), 10)


def test_models_with_a_fixed_batch_see_the_same(build_small: Callable[..., Path], noise: Any) -> None:
    free = list(observed(build_small(), noise(5)).values())
    for batch in (1, 4):
        fixed = list(observed(build_small(batch=batch), noise(5)).values())
        np.testing.assert_allclose([[r.low, r.high] for r in fixed], [[r.low, r.high] for r in free], rtol=1e-5)


def test_zero_lies_in_every_range(small: Path, noise: Any) -> None:
    assert all(found.low <= 0 <= found.high for found in observed(small, noise(3)).values())


def test_the_observer_holds_one_batch_however_many_images(small: Path, noise: Any) -> None:
    """Live batches are counted while the stream is read: at most the one just made and the one before."""
    model = prepare_graph(small)
    tensors = tensors_beside(GraphIndex(model), INT8_OPS)

    def most_alive(count: int) -> tuple[int, int]:
        peak = 0

        class Watched:
            def __len__(self) -> int:
                return count

            def batches(self, size: int) -> Iterator[Any]:
                nonlocal peak
                for batch in noise(count).batches(size):
                    arrays = sum(isinstance(o, np.ndarray) and o.shape[1:] == (3, 16, 16) for o in gc.get_objects())
                    alive = sum(type(o) is type(batch) for o in gc.get_objects())
                    peak = max(peak, alive + arrays)
                    yield batch

        observe(model, tensors, Watched(), batch_size=4)
        return peak, len(tensors)

    few, many = most_alive(8), most_alive(40)
    assert many == few and many[0] <= 4


MEMORY = """
import pathlib, sys
def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
sys.path.insert(0, {tests!r})
import edgetl.quantization
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("small_networks", {conftest!r})
module = importlib.util.module_from_spec(spec); sys.modules["small_networks"] = module; spec.loader.exec_module(module)
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.observe.statistics import observe, tensors_beside
model = prepare_graph(pathlib.Path({model!r}))
names = tensors_beside(GraphIndex(model), INT8_OPS)
peaks = []
for count in (40, 400):
    observe(model, names, module.Noise(count), batch_size=8)
    peaks.append(peak())
hoard = bytearray(b'x') * (36 << 20)
print(peaks[1] - peaks[0], peak() - peaks[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak from /proc")
def test_peak_memory_does_not_grow_with_images(small: Path) -> None:
    """Ten times the images, at most 2 MiB more; keeping their activations would take 36 MB, which the meter is shown to see."""
    conftest = str(Path(__file__).parents[1] / "conftest.py")
    code = MEMORY.format(tests=str(Path(__file__).parents[2]), conftest=conftest, model=str(small))
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    growth, hoard = (int(kib) for kib in done.stdout.split())
    assert growth < 2048 < 30_000 < hoard


def test_narrowing_hard_swish_loses_nothing(small: Path, noise: Any) -> None:
    model = prepare_graph(small)
    seen = {name: Range(-50.0, 50.0) for name in tensors_beside(GraphIndex(model), INT8_OPS)}
    used = consumed_range(GraphIndex(model))
    kept = {name: clip_range(found, used.get(name)) for name, found in seen.items()}
    (swish,) = (node for node in model.graph.node if node.op_type == "HardSwish")
    (gate,) = (node for node in model.graph.node if node.op_type == "HardSigmoid")
    assert kept[swish.input[0]] == Range(-3.0, 50.0)
    assert kept[gate.input[0]].low == pytest.approx(-2.5) and kept[gate.input[0]].high == pytest.approx(2.5)
    assert {name for name in seen if kept[name] != seen[name]} == {swish.input[0], gate.input[0]}


def test_wrong_shapes_are_named(small: Path, noise: Any) -> None:
    with pytest.raises(InputError, match=r"expected float32 inputs of shape \[n, 3, 16, 16\] .* found float32 of shape \[1, 3, 24, 24\]"):
        observed(small, noise(2, side=24))


def test_no_images_are_refused(small: Path, noise: Any) -> None:
    with pytest.raises(InputError, match="expected at least one calibration image, found none"):
        observed(small, noise(0))


def test_infinite_activations_are_refused(small: Path) -> None:
    class Broken:
        def __len__(self) -> int:
            return 1

        def batches(self, size: int) -> Iterator[Any]:
            from types import SimpleNamespace

            yield SimpleNamespace(x=np.full((1, 3, 16, 16), np.inf, np.float32), y=None)

    with pytest.raises(InputError, match="expected finite activations, found NaN or infinity"):
        observed(small, Broken())
