"""SqueezeNet on ImageNet photos, of which there are few: each quarter calibrates in turn, and the others judge.

    python benchmarks/folds.py [--peers DIR] [--tools NAME...] [--folds N] [--keep DIR]

Tools, environments, EDGETL_SHARED and `--keep` are those of `ptq.py`. Every photo and its mirror image are judged by the files of all
quarters but its own: several answers that count as one observation, since they go together. So the figures are of the tool, not of one
file and its luck, and all photos judge.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ptq import BATCH, TOOLS, Case, error_of, made_by, prepared_for, shared_folder, shuffled_photos, write_npz

CASE = Case("squeezenet1_0_imagenet", 200, 598)
VIEWS = 2  # a photo and its mirror image
DEFAULT = ("edgetl", "edgetl portable", "onnxruntime MinMax", "AIMET AdaRound")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a tool's files answered: one value for each photo, the mean over files and views.

    Attributes:
        same: share of answers that are those of the float model.
        lost: right answers of the float model less those of the tool.
        noise: squared error of the logits.
        folds: agreement of each file.
    """

    same: NDArray[np.float64]
    lost: NDArray[np.float64]
    noise: NDArray[np.float64]
    folds: tuple[float, ...]


def answers(model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of photos and their mirror images, float32 [photos, views, classes]."""
    from edgetl.runtime.session import open_session

    session = open_session(model)
    found = [session.run(np.concatenate([part, part[..., ::-1]])) for part in np.array_split(images, -(-len(images) // BATCH))]
    return np.concatenate([np.stack(np.split(part, VIEWS), axis=1) for part in found])


def judged(
    name: str, model: Path, images: NDArray[np.float32], labels: NDArray[np.int64], wanted: NDArray[np.float32], folder: Path,
    parts: Sequence[NDArray[np.int64]], peers: Path | None, limit: float,
) -> Judged:  # fmt: skip
    """Quantize once for each part of the photos; the others judge."""
    sums = {key: np.zeros(len(images)) for key in ("same", "lost", "noise", "seen")}
    folds = []
    for index, part in enumerate(parts):
        calibration = folder / f"calibration-{index}.npz"
        if not calibration.exists():
            write_npz(calibration, [(images[i], int(labels[i])) for i in part])
        out = folder / f"{name.replace(' ', '-')}-{index}.onnx"
        made = made_by(name, TOOLS[name], model, calibration, out, peers, limit)
        if made.why_not:
            raise SystemExit(f"{name}: {made.why_not}")
        others = np.setdiff1d(np.arange(len(images)), part)
        found, float_ones, right = answers(out, images[others]), wanted[others], labels[others, None]
        same = found.argmax(2) == float_ones.argmax(2)
        lost = (float_ones.argmax(2) == right).astype(float) - (found.argmax(2) == right)
        noise = np.square(found.astype(np.float64) - float_ones).sum(2)
        for key, values in (("same", same), ("lost", lost), ("noise", noise)):
            sums[key][others] += values.mean(1)
        sums["seen"][others] += 1
        folds.append(float(same.mean()))
    seen = sums.pop("seen")
    return Judged(**{key: values / seen for key, values in sums.items()}, folds=tuple(folds))


def rows(tools: Sequence[str], shared: Path, folder: Path, count: int, peers: Path | None, limit: float) -> Iterator[str]:
    """One line of the table for each tool."""
    prepare = prepared_for(CASE)
    photos = shuffled_photos(shared, np.random.default_rng(0))
    images, labels = np.stack([prepare(photo) for photo, _ in photos]), np.array([label for _, label in photos])
    model = shared / "models" / f"{CASE.model}.onnx"
    wanted = answers(model, images)
    signal = np.square(wanted.astype(np.float64)).sum(2).mean(1)
    parts, first = np.array_split(np.arange(len(photos)), count), None
    for name in tools:
        found = judged(name, model, images, labels, wanted, folder, parts, peers, limit)
        first = first or found
        lead, beyond = 100 * (first.same - found.same), 100 * (found.lost - first.lost)
        yield (
            f"| {name} | {found.same.mean():.4f} ± {error_of(found.same):.4f} | {', '.join(f'{each:.4f}' for each in found.folds)} "
            f"| {10 * np.log10(signal.sum() / found.noise.sum()):.1f} | {lead.mean():.2f} ± {2 * error_of(lead):.2f} "
            f"| {100 * found.lost.mean():.2f} ± {200 * error_of(found.lost):.2f} | {beyond.mean():.2f} ± {2 * error_of(beyond):.2f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' virtual environments")
    parser.add_argument("--tools", nargs="+", default=list(DEFAULT), choices=list(TOOLS), help="the first is compared with the others")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--limit", type=float, default=900, help="seconds that a tool has for each fold")
    parser.add_argument("--keep", type=Path, default=None, help="folder for what is written, which a later run takes from there")
    options = parser.parse_args()
    shared = shared_folder()
    print("| tool | agreement | of each file | SQNR dB | lead, points | drop, points | drop beyond the first |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows(options.tools, shared, folder, options.folds, options.peers, options.limit):
            print(row, flush=True)


if __name__ == "__main__":
    main()
