"""The C code of a bundle beside onnxruntime on this CPU: milliseconds of one image, bytes of flash and RAM.

    python benchmarks/c_code.py BUNDLE [--rounds N]

BUNDLE was made with `edgetl export --c` or `edgetl pipeline --set export.c=true`. onnxruntime runs model.onnx at one thread. Each round
times every variant once, onnxruntime first: the fastest of CALLS calls by the CPU time of their thread, since other work only adds to it.
The table gives the median of the rounds and their extremes. Flash and RAM are those of arm-none-eabi-gcc for a Cortex-M4, where it is
installed.

Needs gcc; clang and arm-none-eabi-gcc are left out where they are missing.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgetl.bundle.c_client import PLACE
from edgetl.bundle.image_graph import MODEL
from edgetl.runtime.cpu import cpu_name
from edgetl.runtime.session import open_session

CALLS = 20
VARIANTS = [
    ("gcc", "-Os"),
    ("gcc", "-O2"),
    ("gcc", "-O3"),
    ("gcc", "-O3 -march=native"),
    ("clang", "-O2"),
    ("clang", "-O3 -march=native"),
]
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Os", "-std=c99")


def fastest_ms(call: Callable[[], object]) -> float:
    """Of CALLS calls."""
    times = []
    for _ in range(CALLS):
        start = time.thread_time()
        call()
        times.append(1000 * (time.thread_time() - start))
    return min(times)


def compiled(code: Path, folder: Path, compiler: str, options: str, image: np.ndarray, logits: np.ndarray) -> Callable[[], object]:
    """A call of the C code."""
    library = folder / f"{compiler}{options.replace(' ', '')}.so"
    command = [compiler, "-std=c99", *options.split(), "-shared", "-fPIC", "-o", str(library), str(code / "classifier.c")]
    subprocess.run(command, check=True)
    run = ctypes.CDLL(str(library)).classifier_run
    places = image.ctypes.data_as(ctypes.c_void_p), logits.ctypes.data_as(ctypes.c_void_p)
    return lambda: run(*places)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    code = given.bundle.joinpath(*PLACE)
    image = np.load(given.bundle / "golden" / "00.resized.npy")
    prepared, logits = np.load(given.bundle / "golden" / "00.input.npy"), np.zeros(10_000, np.float32)
    session = open_session(given.bundle / MODEL)
    calls: dict[str, Callable[[], object]] = {"onnxruntime, 1 thread": lambda: session.compute(prepared)}
    with tempfile.TemporaryDirectory() as folder:
        for compiler, options in VARIANTS:
            if shutil.which(compiler):
                calls[f"{compiler} {options}"] = compiled(code, Path(folder), compiler, options, image, logits)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(given.rounds):
            for name, call in calls.items():
                times[name].append(fastest_ms(call))
        print(f"{cpu_name()}; {given.rounds} rounds of {CALLS} calls, the fastest of each; median of the rounds and their extremes\n")
        print("| | ms | extremes |\n|---|---|---|")
        for name, each in times.items():
            print(f"| {name} | {statistics.median(each):.3f} | {min(each):.3f} to {max(each):.3f} |")
        print(f"\nfootprint.json: {json.loads((code / 'footprint.json').read_text(encoding='utf-8'))}")
        if shutil.which("arm-none-eabi-gcc"):
            file = Path(folder) / "m4.o"
            subprocess.run(["arm-none-eabi-gcc", *CORTEX_M4, "-c", "-o", str(file), str(code / "classifier.c")], check=True)
            print(subprocess.run(["arm-none-eabi-size", str(file)], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
