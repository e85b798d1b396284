"""edgetl's int8 files without VNNI beside this CPU with it: how fast each file is, and how often it answers as the float model.

    python benchmarks/without_vnni.py [--models NAME...] [--targets NAME...] [--images N]

The same files are run twice, in processes of their own: as this CPU runs them, and with the kernels that onnxruntime takes on a CPU with
AVX2 alone (scripts/without_vnni.py), which run at this machine's speed. A laptop of those years has other caches and clocks; what carries
over is the ratio to float, and the answers, bit for bit. Latency is the median of one image at one thread, all files of a model in
turns, means of REPEATS repeats with two standard errors; agreement is with the float model's answers, on images that calibrated nothing.

Needs the models, CIFAR-10 zips and ImageNet samples of the folder named by EDGETL_SHARED (default ../shared), and what
scripts/without_vnni.py needs.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ptq import LATENCY_RUNS, Case, cases, error_of, shared_folder, write_images

from edgetl.data.npz import open_npz
from edgetl.metrics.parity import agreement
from edgetl.quantization.engine import quantize
from edgetl.runtime.answers import outputs_of
from edgetl.runtime.cpu import cpu_name, saturates_here
from edgetl.runtime.latency import measure_all
from edgetl.settings import Runtime

REPEATS, BATCH = 10, 25
SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "without_vnni.py"))


def measure(judging: Path, files: list[Path]) -> dict[str, list[list[float]]]:
    """Of each file, in this process: latencies in ms, one a repeat, and the share of the first one's answers."""
    times = [[each.p50 for each in measure_all(files, LATENCY_RUNS)] for _ in range(REPEATS)]
    found = [outputs_of(path, open_npz(judging), batch_size=BATCH)[0].argmax(1) for path in files]
    return {"ms": np.transpose(times).tolist(), "agreement": [[agreement(found[0], each)] for each in found]}


def rows_of(case: Case, targets: list[str], shared: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """One line for the float file and one for each target's."""
    calibration, judging = write_images(case, shared, folder)
    model = (case.folder or shared / "models") / f"{case.model}.onnx"
    files = [model, *(folder / f"{case.model}.{target}.onnx" for target in targets)]
    for target, out in zip(targets, files[1:], strict=True):
        quantize(model, open_npz(calibration), target=target, out=out, threads=Runtime().threads)  # type: ignore[arg-type]
    sides = []
    for extra in ({}, environment):
        command = [sys.executable, __file__, "--measure", str(judging), *map(str, files)]
        sides.append(json.loads(subprocess.run(command, check=True, env={**os.environ, **extra}, stdout=subprocess.PIPE).stdout))
    for index, name in enumerate(["float", *targets]):
        yield " | ".join([f"| {case.model}", name, *(cell(side, index) for side in sides)]) + " |"


def cell(side: dict[str, list[list[float]]], index: int) -> str:
    """Latency, its ratio to the float model's, and agreement."""
    each, base = np.array(side["ms"][index]), np.array(side["ms"][0])
    share = each / base
    return f"{each.mean():.2f} | {share.mean():.2f} ± {2 * error_of(share):.2f} | {side['agreement'][index][0]:.4f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=None, help="names of models, without .onnx. Default: all")
    parser.add_argument("--targets", nargs="+", default=["x86", "x86-avx2", "portable"])
    parser.add_argument("--images", type=int, default=598, help="that are answered")
    parser.add_argument("--measure", nargs="+", type=Path, default=None, help=argparse.SUPPRESS)  # images and files: one side of the table
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], options.measure[1:])))
        return
    if reason := SCRIPT["why_not"]() or (saturates_here() and "this CPU has no VNNI itself") or None:
        sys.exit(reason)
    shared = shared_folder()
    print(f"{cpu_name()}, one thread; without VNNI: the same machine with onnxruntime's kernels for AVX2.\n")
    print("| model | file | ms | of float | agreement | without VNNI: ms | of float | agreement |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as temporary:
        folder = Path(temporary)
        (folder / "without_vnni").mkdir()
        environment = SCRIPT["environment"](folder / "without_vnni")
        for case in cases(None, options.models):
            for row in rows_of(replace(case, judged=options.images), options.targets, shared, folder, environment):
                print(row, flush=True)


if __name__ == "__main__":
    main()
