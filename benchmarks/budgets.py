"""What more agreement costs: `--min-agreement` on ResNet-20 and MobileNetV3-small, x86.

    python benchmarks/budgets.py [--models NAME...] [--agreements SHARE...]

Calibration and test images are those of `ptq.py`. What must agree, 4,000 other photos of CIFAR-10's training files judge, which
calibrate nothing; the table is of test images, which decide nothing. Latencies in turns of another order each.

Needs the models and CIFAR-10 zips of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ptq import BATCH, Case, cases, drawn, error_of, latencies_of, lost_answers, prepared_for, shared_folder, write_images, write_npz

from edgetl.data.npz import open_npz
from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.quantization.search.search import Budget
from edgetl.runtime.answers import outputs_of
from edgetl.settings import Runtime

JUDGES = 4_000
MODELS = ("resnet20_cifar10", "mobilenet_v3_small_cifar64")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--agreements", nargs="+", type=float, default=[0.992, 0.995])
    options = parser.parse_args()
    shared = shared_folder()
    print("| model | asked for | layers in float | agreement | n | SQNR dB | drop, points | ms: int8 / float | longer, % | of float |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        for case in cases(None, options.models):
            for row in rows_of(case, options.agreements, shared, Path(folder)):
                print(row, flush=True)


def rows_of(case: Case, agreements: Sequence[float], shared: Path, folder: Path) -> Iterator[str]:
    """One line without a budget, and one for each."""
    model = shared / "models" / f"{case.model}.onnx"
    calibration, judging = write_images(case, shared, folder)
    judges = write_judges(case, shared, calibration)
    made = []
    for asked in (None, *agreements):
        out = folder / f"{case.model}-{asked}.onnx"
        budget = None if asked is None else Budget(min_agreement=asked)
        record = quantize(
            model, open_npz(calibration), target="x86", out=out, threads=Runtime().threads, budget=budget, evaluation=open_npz(judges)
        )
        made.append((asked, out, record))
    wanted, labels = outputs_of(model, open_npz(judging), batch_size=BATCH)
    assert labels is not None
    latencies = latencies_of(model, [out for _, out, _ in made])
    for (asked, out, record), latency in zip(made, latencies, strict=True):
        found, _ = outputs_of(out, open_npz(judging), batch_size=BATCH)
        same = (found.argmax(1) == wanted.argmax(1)).astype(float)
        lost = lost_answers(wanted, found, labels)
        reached = " (not reached)" if record.within is False else ""
        yield (
            f"| {case.model} | {'' if asked is None else asked}{reached} | {len(record.floating)} "
            f"| {same.mean():.4f} ± {error_of(same):.4f} | {len(labels)} | {sqnr_db(wanted, found):.1f} "
            f"| {100 * lost.mean():.2f} ± {200 * error_of(lost):.2f} | {latency} "
            f"| {out.stat().st_size / model.stat().st_size:.4f} |"
        )


def write_judges(case: Case, shared: Path, calibration: Path) -> Path:
    """Other training photos than those that calibrate, with labels, as .npz."""
    prepare = prepared_for(case)
    taken = {image.tobytes() for image in np.load(calibration)["x"]}
    photos = drawn(shared / "data" / "cifar10_train.zip", JUDGES + len(taken), np.random.default_rng(7))
    path = calibration.with_name(f"{case.model}-judges.npz")
    write_npz(path, [(image, label) for data, label in photos if (image := prepare(data)).tobytes() not in taken][:JUDGES])
    return path


if __name__ == "__main__":
    main()
