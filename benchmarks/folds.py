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
from ptq import BATCH, CASES, TOOLS, error_of, lost_answers, made_by, prepared_for, shared_folder, shuffled_photos, write_npz

CASE = next(case for case in CASES if case.model.endswith("imagenet"))
VIEWS = 2  # a photo and its mirror image
DEFAULT = ("edgetl", "edgetl portable", "onnxruntime MinMax", "AIMET AdaRound")


@dataclass(frozen=True, kw_only=True)
class Photos:
    """What judges, and what calibrates.

    Attributes:
        images: float32 [photos, 3, height, width].
        labels: int64 [photos].
        wanted: the float model's logits, float32 [photos, views, classes].
        parts: places of the photos that calibrate together.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    wanted: NDArray[np.float32]
    parts: Sequence[NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a tool's files answered: one value for each photo, the mean over files and views.

    Attributes:
        same: share of answers that are those of the float model.
        lost: right answers of the float model less those of the tool.
        noise: squared error of the logits.
        files: agreement of each file.
    """

    same: NDArray[np.float64]
    lost: NDArray[np.float64]
    noise: NDArray[np.float64]
    files: tuple[float, ...]


def answers(model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of photos and their mirror images, float32 [photos, views, classes]."""
    from edgetl.runtime.session import open_session

    session = open_session(model)
    found = [session.run(np.concatenate([part, part[..., ::-1]])) for part in np.array_split(images, -(-len(images) // BATCH))]
    return np.concatenate([np.stack(np.split(part, VIEWS), axis=1) for part in found])


def judged(photos: Photos, files: Sequence[Path]) -> Judged:
    """Let the photos judge that did not calibrate: one file for each part of them."""
    sums = {key: np.zeros(len(photos.images)) for key in ("same", "lost", "noise")}
    agreements = []
    for part, file in zip(photos.parts, files, strict=True):
        others = np.setdiff1d(np.arange(len(photos.images)), part)
        found, wanted = answers(file, photos.images[others]), photos.wanted[others]
        same = found.argmax(2) == wanted.argmax(2)
        lost = lost_answers(wanted, found, photos.labels[others, None])
        noise = np.square(found.astype(np.float64) - wanted).sum(2)
        for key, values in (("same", same), ("lost", lost), ("noise", noise)):
            sums[key][others] += values.mean(1)
        agreements.append(float(same.mean()))
    judges = len(photos.parts) - 1  # files that a photo judges: all but its own
    return Judged(**{key: values / judges for key, values in sums.items()}, files=tuple(agreements))


def photos_of(shared: Path, model: Path, count: int) -> Photos:
    """All photos, in `count` parts; the first is what calibrates in `ptq.py`, where there are four."""
    prepare = prepared_for(CASE)
    found = shuffled_photos(shared, np.random.default_rng(0))
    images = np.stack([prepare(data) for data, _ in found])
    labels = np.array([label for _, label in found])
    return Photos(images=images, labels=labels, wanted=answers(model, images), parts=np.array_split(np.arange(len(found)), count))


def rows(tools: Sequence[str], shared: Path, folder: Path, count: int, peers: Path | None, limit: float) -> Iterator[str]:
    """One line of the table for each tool."""
    model = shared / "models" / f"{CASE.model}.onnx"
    photos, first = photos_of(shared, model, count), None
    signal = np.square(photos.wanted.astype(np.float64)).sum(2).mean(1)
    calibrations = [folder / f"calibration-{index}-of-{count}.npz" for index in range(count)]
    for path, part in zip(calibrations, photos.parts, strict=True):
        write_npz(path, [(photos.images[i], int(photos.labels[i])) for i in part])
    for name in tools:
        made = [
            made_by(name, TOOLS[name], model, path, folder / f"{name.replace(' ', '-')}-{index}-of-{count}.onnx", peers, limit)
            for index, path in enumerate(calibrations)
        ]
        if why := next((each.why_not for each in made if each.why_not), None):
            yield f"| {name} | {why} | | | | | | |"
            continue
        found = judged(photos, [each.out for each in made])
        first = first or found
        lead, beyond = 100 * (first.same - found.same), 100 * (found.lost - first.lost)
        yield (
            f"| {name} | {found.same.mean():.4f} ± {error_of(found.same):.4f} | {', '.join(f'{each:.4f}' for each in found.files)} "
            f"| {10 * np.log10(signal.sum() / found.noise.sum()):.1f} | {lead.mean():.2f} ± {2 * error_of(lead):.2f} "
            f"| {100 * found.lost.mean():.2f} ± {200 * error_of(found.lost):.2f} | {beyond.mean():.2f} ± {2 * error_of(beyond):.2f} "
            f"| {np.mean([each.costs['seconds'] for each in made]):.0f} |"
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
    if options.folds < 2:
        parser.error("expected 2 --folds or more: one calibrates, the others judge")
    shared = shared_folder()
    print("| tool | agreement | of each file | SQNR dB | lead, points | drop, points | drop beyond the first | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows(options.tools, shared, folder, options.folds, options.peers, options.limit):
            print(row, flush=True)


if __name__ == "__main__":
    main()
