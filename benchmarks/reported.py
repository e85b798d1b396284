"""Is what the int8 engine reports of its file what other images show? The same file on four sets of images.

    python benchmarks/reported.py [--models NAME...] [--calibration N] [--images N] [--draws N] [--target TARGET]

Those that it was fitted on, those that chose between ways to int8, those that report (`QuantizationRecord.reported`, and `agreement` and
`sqnr_db` of `edgetl.quantize`), and images of `ptq.py` that the engine never saw. With several draws, each calibrates on other images,
and the last line has the means and the mean differences from the images outside, ± two standard errors over draws.

Needs the models, CIFAR-10 zips and ImageNet samples of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ptq import BATCH, CASES, Case, cases, shared_folder, write_images

from edgetl.data.npz import open_npz
from edgetl.metrics.parity import agreement, sqnr_db
from edgetl.quantization.candidates.unsaturated import judged_outputs
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import CalibrationParts
from edgetl.runtime.answers import outputs_of
from edgetl.runtime.session import InputSource
from edgetl.settings import Runtime, Target

SETS = ("fitted", "chose", "reported", "outside")


@dataclass(frozen=True)
class Shown:
    """What a set of images shows: how many there are, the share of same answers, dB of the logits over all of them."""

    images: int
    agreement: float
    sqnr_db: float

    def cell(self) -> str:
        """Of the table."""
        return f"{self.agreement:.4f}, {self.sqnr_db:.1f} dB (n = {self.images})"


def shown(model: Path, made: Path, source: InputSource, threads: int) -> Shown:
    """What `source` shows of the file `made` from `model`."""
    wanted, _ = outputs_of(model, source, batch_size=BATCH, threads=threads)
    found, _ = judged_outputs(made, source, batch_size=BATCH, threads=threads)
    return Shown(len(wanted), agreement(wanted.argmax(1), found.argmax(1)), sqnr_db(wanted, found))


def draw(case: Case, shared: Path, folder: Path, seed: int, target: Target) -> dict[str, Shown]:
    """The four sets for one draw of calibration images."""
    folder.mkdir()
    calibration, judging = write_images(case, shared, folder, seed)
    model, out, threads = shared / "models" / f"{case.model}.onnx", folder / "int8.onnx", Runtime().threads
    record = quantize(model, open_npz(calibration), target=target, out=out, threads=threads)
    parts = CalibrationParts.of(open_npz(calibration))
    if parts.choosing is None:
        raise SystemExit(f"needs calibration images that choose, found none in {record.images}")
    sources: tuple[InputSource, ...] = (parts.fitting, parts.choosing, parts.reporting, open_npz(judging))
    found = {name: shown(model, out, source, threads) for name, source in zip(SETS, sources, strict=True)}
    assert record.reported.agreement == found["reported"].agreement
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=None, choices=[case.model for case in CASES])
    parser.add_argument("--calibration", type=int, default=None, help="images that calibrate. Default: as in ptq.py")
    parser.add_argument("--images", type=int, default=None, help="images outside, at most")
    parser.add_argument("--draws", type=int, default=1, help="of calibration images")
    parser.add_argument("--target", default="x86")
    options = parser.parse_args()
    shared = shared_folder()
    print(f"| model | draw | {' | '.join(SETS)} |\n|{'---|' * (2 + len(SETS))}")
    for case in cases(None, options.models):
        limited = replace(case, calibration=options.calibration or case.calibration, judged=min(case.judged, options.images or case.judged))
        rows: list[dict[str, Shown]] = []
        for seed in range(options.draws):
            with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
                rows.append(draw(limited, shared, Path(folder) / "draw", seed, options.target))
            print(f"| {case.model} | {seed} | {' | '.join(rows[-1][name].cell() for name in SETS)} |", flush=True)
        if len(rows) > 1:
            print(f"| {case.model} | mean, and beyond outside | {' | '.join(beyond(rows, name) for name in SETS)} |", flush=True)


def beyond(rows: list[dict[str, Shown]], name: str) -> str:
    """The means of a set, and how much more it shows than the images outside."""
    cells = []
    for points, values in ((True, "agreement"), (False, "sqnr_db")):
        here, outside = (np.array([getattr(row[each], values) for row in rows]) for each in (name, "outside"))
        more, error = here - outside, 2 * (here - outside).std(ddof=1) / len(rows) ** 0.5
        if points:
            cells.append(f"{here.mean():.4f} ({100 * more.mean():+.2f} ± {100 * error:.2f} points)")
        else:
            cells.append(f"{here.mean():.1f} dB ({more.mean():+.2f} ± {error:.2f})")
    return ", ".join(cells)


if __name__ == "__main__":
    main()
