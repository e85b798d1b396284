"""edgetl's int8 engine beside onnxruntime's own quantize_static (MinMax), on the same float files and calibration images.

Both write QDQ, uint8 activations and int8 weights, per channel, full weight range (x86 with VNNI). onnxruntime's is
run twice: on the file as it is, and after its own `quant_pre_process`. Each run is a process of its own, so that seconds
and peak memory are its own; agreement is with the float model, on images that calibrated neither; latency is the median
of one image at one thread, all files in turns.

    python benchmarks/quantize_vs_onnxruntime.py [--images N]

Needs the models, CIFAR-10 zips and ImageNet samples of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.preprocess import Preprocess, imagenet
from edgetl.data.npz import open_npz
from edgetl.metrics.parity import agreement, sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.runtime.latency import measure_all
from edgetl.runtime.session import outputs_of

ENGINES = ("edgetl", "onnxruntime", "onnxruntime, preprocessed")
BATCH, LATENCY_RUNS = 25, 60
Reader = Callable[[str], bytes]


@dataclass(frozen=True)
class Case:
    """A model and its images: `calibration` of them set the ranges, at most `judged` others judge."""

    model: str
    calibration: int
    judged: int
    prepare: Callable[[bytes], NDArray[np.float32]]
    photos: bool = False


def upsampled(data: bytes) -> NDArray[np.float32]:
    """float32 [3, 64, 64]: normalized at 32 px, then bilinear, align_corners=False."""
    values = Preprocess(size=32, resize=32)(data)
    for axis in (1, 2):
        at = np.clip((np.arange(64) + 0.5) / 2 - 0.5, 0, 31)
        low = at.astype(int)
        shape = [64 if i == axis else 1 for i in range(3)]
        share = (at - low).astype(np.float32).reshape(shape)
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, 31), axis) * share
    return values


CASES = (
    Case("resnet20_cifar10", 256, 2000, Preprocess(size=32, resize=32)),
    Case("mobilenet_v3_small_cifar64", 256, 2000, upsampled),
    Case("squeezenet1_0_imagenet", 100, 300, imagenet(224), photos=True),
)


def write_images(case: Case, shared: Path, folder: Path, judged: int) -> tuple[Path, Path]:
    """Calibration and judging images as .npz; for CIFAR-10 from its train and test files, for photos disjoint samples."""
    rng = np.random.default_rng(0)
    if case.photos:
        files = sorted((shared / "data" / "imagenet_samples").glob("*.jpg"))
        order = [files[i] for i in rng.permutation(len(files))]
        parts = [
            [file.read_bytes() for file in order[: case.calibration]],
            [file.read_bytes() for file in order[case.calibration :][:judged]],
        ]
    else:
        parts = [
            _drawn(shared / "data" / f"cifar10_{part}.zip", count, rng) for part, count in (("train", case.calibration), ("test", judged))
        ]
    paths = (folder / f"{case.model}-calibration.npz", folder / f"{case.model}-judging.npz")
    for path, images in zip(paths, parts, strict=True):
        np.savez(path, x=np.stack([case.prepare(image) for image in images]))
    return paths


def _drawn(archive: Path, count: int, rng: np.random.Generator) -> list[bytes]:
    with zipfile.ZipFile(archive) as pack:
        names = sorted(name for name in pack.namelist() if name.endswith(".jpg"))
        return [pack.read(names[i]) for i in rng.choice(len(names), count, replace=False)]


def run_engine(engine: str, model: Path, calibration: Path, out: Path) -> dict[str, float]:
    """Quantize in this process: seconds (imports not counted) and peak memory, MiB."""
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = open_npz(calibration)
    begin = time.perf_counter()
    if engine == "edgetl":
        quantize(model, source, target="x86", batch_size=BATCH, out=out)
    else:
        if engine == ENGINES[2]:
            prepared = out.with_suffix(".pre.onnx")
            quant_pre_process(str(model), str(prepared))
            model = prepared
        feeds = _Feeds(image[np.newaxis] for batch in source.batches(BATCH) for image in batch.x)
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(model, out, feeds, per_channel=True, **types)
    return {"seconds": time.perf_counter() - begin, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The largest resident size of this process; NaN without /proc (getrusage starts at the parent's peak)."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


class _Feeds:
    """What quantize_static reads: one image after the other, then None."""

    def __init__(self, images: Iterator[NDArray[np.float32]]) -> None:
        self.images = images

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self.images, None)
        return None if image is None else {"input": image}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return iter(self.get_next, None)


def rows_of(case: Case, shared: Path, folder: Path, judged: int) -> Iterator[str]:
    """One line of the table for each engine."""
    model = shared / "models" / f"{case.model}.onnx"
    calibration, images = write_images(case, shared, folder, min(judged, case.judged))
    outs, costs = [], []
    for index, engine in enumerate(ENGINES):
        outs.append(folder / f"{case.model}-{index}.onnx")
        command = [sys.executable, __file__, "--engine", engine, str(model), str(calibration), str(outs[-1])]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        costs.append(json.loads(done.stdout.splitlines()[-1]))
    reference, _ = outputs_of(model, open_npz(images), batch_size=BATCH)
    base, *latencies = measure_all([model, *outs], LATENCY_RUNS)
    for engine, out, cost, latency in zip(ENGINES, outs, costs, latencies, strict=True):
        answers, _ = outputs_of(out, open_npz(images), batch_size=BATCH)
        of_float = out.stat().st_size / model.stat().st_size
        share = agreement(reference.argmax(axis=1), answers.argmax(axis=1))
        error = (share * (1 - share) / len(answers)) ** 0.5
        yield (
            f"| {case.model} | {engine} | {out.stat().st_size} | {of_float:.4f} | {share:.4f} ± {error:.4f} "
            f"| {len(answers)} | {sqnr_db(reference, answers):.1f} | {latency.p50:.2f} / {base.p50:.2f} = {latency.p50 / base.p50:.2f} "
            f"| {cost['seconds']:.1f} | {cost['peak_mib']:.0f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="images that judge, at most")
    parser.add_argument("--engine", nargs=4, metavar=("NAME", "MODEL", "NPZ", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        name, *paths = options.engine
        sys.stdout.write(json.dumps(run_engine(name, *(Path(path) for path in paths))) + "\n")
        return
    shared = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
    if not (shared / "models").is_dir():
        sys.exit(f"needs models and images: no {shared} (set EDGETL_SHARED)")
    print(f"{platform.machine()}, {os.cpu_count()} cores; latency in ms, int8 / float; seconds and peak memory of quantizing\n")
    print("| model | engine | bytes | of float | agreement | n | SQNR dB | latency | seconds | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        for case in CASES:
            for row in rows_of(case, shared, Path(folder), options.images):
                print(row, flush=True)


if __name__ == "__main__":
    main()
