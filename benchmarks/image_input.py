"""Latency of model.image.onnx (pixels in, probabilities out) over that of model.onnx (prepared tensor in, logits out), side by side.

    python benchmarks/image_input.py FOLDER [--rounds N] [BUNDLE ...]

Without BUNDLEs it makes three in FOLDER, once: the digits of the default run, ResNet-20 on CIFAR-10 and a student of the hymenoptera
photos, each trained for an epoch at most, since latency does not depend on what was learned (needs the folder that EDGETL_SHARED names;
about ten minutes). A round opens both files anew, in alternating order, and calls them in turns, one image on one thread: the median of
CALLS calls each, by the CPU time of the thread, gives one ratio. The table has the median of the ratios, their quartiles and
extremes, and the same of model.onnx opened a second time as a third file: what a ratio of 1 looks like here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgetl.bundle.image_graph import IMAGE_MODEL, MODEL
from edgetl.bundle.read import is_bundle
from edgetl.core.preprocess import Preprocess
from edgetl.runtime.cpu import cpu_name
from edgetl.runtime.engine import start

CALLS, WARM_UP = 60, 10
QUICK = ("--set", "finetune.epochs=1", "--set", "distill.epochs=1", "--set", "quantize.tune_images=0")
IMAGES, AGAIN = 48, "model.onnx again"


def edgetl(*words: object) -> None:
    """Run a command of edgetl. A failed verdict (exit code 1) is no fault here: the networks have hardly learned."""
    done = subprocess.run([sys.executable, "-m", "edgetl", *map(str, words)], check=False, stdout=sys.stderr)
    if done.returncode not in (0, 1):
        raise SystemExit(f"edgetl {words[0]} ended with exit code {done.returncode}")


def bundles(folder: Path) -> list[Path]:
    """The three bundles in `folder`, made where they are missing."""
    shared = Path(os.environ.get("EDGETL_SHARED", "/nonexistent"))
    runs = {"digits": (), "hymenoptera": (shared / "data/hymenoptera",)}
    if not (shared / "data/hymenoptera").is_dir():
        raise SystemExit("expected the folder with hymenoptera and CIFAR-10 in EDGETL_SHARED, found none. Set it, or name BUNDLEs")
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / name / "bundle" for name in ("digits", "resnet20", "hymenoptera")]
    for name, data in runs.items():
        if not is_bundle(folder / name / "bundle"):
            edgetl("pipeline", *data, "--out", folder / name, *QUICK)
    if not is_bundle(found[1]):
        resnet20(shared, folder / "resnet20")
    return found


def resnet20(shared: Path, folder: Path) -> None:
    """Its int8 file, calibrated with photos of CIFAR-10's training part, and its bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = Preprocess(size=32, resize=32)
    with zipfile.ZipFile(shared / "data/cifar10_train.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        photos = [preprocess(archive.read(name)) for name in names[:: len(names) // IMAGES]]
    np.savez(folder / "calibration.npz", x=np.stack(photos))
    (folder / "labels.txt").write_text("".join(f"class {index}\n" for index in range(10)), encoding="utf-8")
    (folder / "preprocess.json").write_text(json.dumps(preprocess.fields()), encoding="utf-8")
    given = ("--preprocess", folder / "preprocess.json", "--labels", folder / "labels.txt")
    model, int8 = shared / "models/resnet20_cifar10.onnx", folder / "int8.onnx"
    edgetl("quantize", model, "--calibration", folder / "calibration.npz", "--out", int8, "--tune-images", 0, *given)
    edgetl("export", int8, "--out", folder / "bundle", *given)


def calls(bundle: Path, turned: bool) -> Mapping[str, Callable[[], object]]:
    """A call of each file, opened anew: the image with its own input."""
    if not (bundle / IMAGE_MODEL).is_file():
        raise SystemExit(f"expected a bundle with {IMAGE_MODEL} at {bundle}, found none. Export it again")
    golden = bundle / "golden"
    prepared, pixels = np.load(golden / "00.input.npy"), np.load(golden / "00.resized.npy")[None]
    files = {MODEL: prepared, IMAGE_MODEL: pixels, AGAIN: prepared}
    made: dict[str, Callable[[], object]] = {}
    for name in reversed(files) if turned else files:
        engine = start(bundle / (MODEL if name == AGAIN else name))
        made[name] = _call(engine, files[name])
    return made


def _call(engine: object, given: np.ndarray) -> Callable[[], object]:
    name = engine.get_inputs()[0].name  # type: ignore[attr-defined]
    return lambda: engine.run(None, {name: given})  # type: ignore[attr-defined]


def medians_ms(made: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Of CALLS calls each, one of each in turn."""
    times: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(WARM_UP + CALLS):
        for name, call in made.items():
            begin = time.thread_time()
            call()
            if turn >= WARM_UP:
                times[name].append(1000 * (time.thread_time() - begin))
    return {name: statistics.median(each) for name, each in times.items()}


def row(name: str, bundle: Path, rounds: int) -> str:
    """A line of the table."""
    found = [medians_ms(calls(bundle, turned=index % 2 == 1)) for index in range(rounds)]
    base = [each[MODEL] for each in found]
    cells = [_spread([each[other] / each[MODEL] for each in found]) for other in (IMAGE_MODEL, AGAIN)]
    return f"| {name} | {statistics.median(base):.3f} ({min(base):.3f} to {max(base):.3f}) | {' | '.join(cells)} |"


def _spread(ratios: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f}; {min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()
    chosen = given.bundles or bundles(given.folder)
    print(f"{cpu_name()}; {given.rounds} rounds of {CALLS} calls; median (quartiles; extremes)\n")
    print("| bundle | model.onnx, ms | model.image.onnx / model.onnx | model.onnx / model.onnx |\n|---|---|---|---|")
    for bundle in chosen:
        print(row(bundle.parent.name, bundle, given.rounds), flush=True)


if __name__ == "__main__":
    main()
