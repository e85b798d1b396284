"""How much slower edgetl gets beside other work: training and calibration, alone and with one CPU kept busy.

    python benchmarks/beside_other_work.py [--rounds 3] [--only training|calibration] [--pinned] [--variants "NAME=VALUE ..." ...]
                                           [-- EDGETL OPTIONS]

Training is the whole default run, `edgetl pipeline` on the handwritten digits, in a fresh folder; calibration is `edgetl quantize` of a
network of 224 pixels with random weights on the photos of calibration/. The other work is one process that counts; `--pinned` keeps it on
one CPU. Alone and beside take turns within a round. A variant is a set of environment variables, for instance
`--variants "" "OMP_WAIT_POLICY=passive" "GOMP_SPINCOUNT=300000"`; what stands behind `--` is given to edgetl, for instance `--threads 2`.

Prints one table: seconds, mean and spread (largest less smallest) of n rounds, and how many times longer it takes beside the other work.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgetl.core.cpus import available_cpus

CALIBRATION = Path(__file__).parents[1] / "calibration"
SPIN = "while True: pass"
PLACES = ("alone", "beside")


@contextmanager
def busy(wanted: bool, pinned: bool) -> Iterator[None]:
    """One CPU kept busy, if wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        if pinned:
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def network(path: Path) -> Path:
    """SqueezeNet for 224 pixels, its weights random: what is measured is time."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=10).eval()
    torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    return path


def commands(folder: Path, model: Path | None, options: list[str]) -> list[str]:
    """The command line of edgetl, its output in `folder`."""
    edgetl = [sys.executable, "-m", "edgetl"]
    if model is None:
        return [*edgetl, "pipeline", "--out", str(folder / "run"), *options]
    calibration = next(place for place in sorted(CALIBRATION.iterdir()) if place.is_dir())
    given = ["--calibration", str(calibration), "--preprocess", "imagenet", "--tune-images", "150"]
    return [*edgetl, "quantize", str(model), *given, "--out", str(folder / "int8.onnx"), *options]


def seconds(model: Path | None, beside: bool, pinned: bool, variables: dict[str, str], options: list[str]) -> float:
    """What one command takes."""
    with tempfile.TemporaryDirectory() as folder, busy(beside, pinned):
        begun = time.perf_counter()
        done = subprocess.run(commands(Path(folder), model, options), capture_output=True, text=True, env={**os.environ, **variables})
        if done.returncode not in (0, 1):
            sys.exit(done.stderr)
        return time.perf_counter() - begun


def cpu_name() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["training", "calibration"])
    parser.add_argument("--pinned", action="store_true", help="the other work stays on one CPU")
    parser.add_argument("--variants", nargs="+", default=[""], help="environment variables, NAME=VALUE, several with spaces between")
    parser.add_argument("options", nargs="*", help="for edgetl")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = network(Path(folder) / "network.onnx")
        cases = {name: given for name, given in (("training", None), ("calibration", model)) if asked.only in (None, name)}
        found: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(asked.rounds):
            for variant in asked.variants:
                variables = dict(word.split("=", 1) for word in variant.split())
                for case, given in cases.items():
                    for place in PLACES:
                        took = seconds(given, place == "beside", asked.pinned, variables, asked.options)
                        found.setdefault((variant, case, place), []).append(took)
    print(f"{cpu_name()}, {available_cpus()} CPUs, n = {asked.rounds}, options: {' '.join(asked.options) or 'none'}\n")
    print("| variables | work | alone, s | beside, s | times |\n|---|---|---|---|---|")
    for variant in asked.variants:
        for case in cases:
            alone, beside = (found[variant, case, place] for place in PLACES)
            shown = [f"{statistics.mean(times):.1f} ({max(times) - min(times):.1f})" for times in (alone, beside)]
            print(f"| {variant or 'none'} | {case} | {' | '.join(shown)} | {statistics.mean(beside) / statistics.mean(alone):.2f} |")


if __name__ == "__main__":
    main()
