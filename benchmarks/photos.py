"""What `edgetl pipeline` gives on photos, without a network: the table that the defaults are chosen by.

    python benchmarks/photos.py FOLDER [--rows NAME ...] [--seeds 0 1 2]

Each row is a data set and the words of a command; each seed is one run, in its own process, kept in FOLDER: killed, the same line goes
on where it was, and more rows or seeds add to the table. Scores are those of `report.json`, on test images, which chose nothing: nothing
here reads them before all runs are done. A row's figures are medians, with the lowest and the highest of its seeds. Minutes are of the
whole command, where it ran in one go.

`flowers-N`: N photos to train and select on, 1,200 others to judge; `cifar10-3000` likewise, with 2,000. `few`: 100 photos of
hymenoptera, 90 of one class and 10 of the other, to learn and select from; its judges are all 153 that hymenoptera has for that, and
classes count alike. `cifar10` is all of it; `alone` learns from the labels only, as long. What belongs to which part follows from the
content of the photos.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
SQUEEZENET = SHARED / "weights" / "squeezenet1_0_imagenet_fp16.safetensors"
VAL = 7  # one photo of so many selects
RUN, SPENT = "report.json", "minutes.txt"
HEADS = (
    *("data and words", "teacher; student", "runs", "teacher", "int8 student", "int8 agrees with float", "kB"),
    *("times as fast as the teacher", "minutes", "verdicts"),
)
CIFAR10 = (
    "--student edge_small --allow-known-data --set finetune.strategy=features --set finetune.baselines=false "
    "--set distill.epochs=100 --set distill.patience=100 --set distill.answers=12"
)
SMALL = "--student edge_small --set distill.image_size=32"
PLAIN = "--student same --set finetune.weights=none --set finetune.balance=none"


@dataclass(frozen=True)
class Row:
    """A data set by name, and the words of the command behind it."""

    data: str
    words: str = ""


ROWS = {
    "hymenoptera": Row("hymenoptera"),
    "hymenoptera-330": Row("hymenoptera", "--max-kb 330"),
    "hymenoptera-150": Row("hymenoptera", "--max-kb 150"),
    "hymenoptera-lite2": Row("hymenoptera", "--student same"),
    "hymenoptera-lite0": Row("hymenoptera", "--teacher efficientnet_lite0 --student same"),
    "hymenoptera-squeezenet": Row("hymenoptera", f"--teacher squeezenet1_0 --teacher-weights {SQUEEZENET}"),
    "hymenoptera-cifar_resnet16": Row("hymenoptera", "--teacher cifar_resnet16"),
    "flowers-200": Row("flowers-200"),
    "flowers-1000": Row("flowers-1000", "--max-kb 500"),
    "flowers-1000-1000": Row("flowers-1000"),
    "flowers-1000-330": Row("flowers-1000", "--max-kb 330"),
    "flowers-1000-150": Row("flowers-1000", "--max-kb 150"),
    "flowers-1000-short": Row("flowers-1000", "--student efficientnet_lite0_short --set distill.keep=0.52"),
    "flowers-1000-shorter": Row("flowers-1000", "--student efficientnet_lite0_shorter --set distill.keep=0.283"),
    "flowers-1000-lite0": Row("flowers-1000", "--student same"),
    "flowers-1000-cifar_resnet16": Row("flowers-1000", "--teacher cifar_resnet16"),
    "flowers-1000-cifar_resnet16-same": Row("flowers-1000", "--teacher cifar_resnet16 --student same"),
    "flowers-3000": Row("flowers-3000", "--max-kb 500"),
    "flowers-3000-1000": Row("flowers-3000"),
    "cifar10-3000": Row("cifar10-3000", "--allow-known-data"),
    "cifar10-3000-edge": Row("cifar10-3000", "--allow-known-data --student edge_small"),
    "cifar10-3000-lite0": Row("cifar10-3000", f"--teacher efficientnet_lite0 --image-size 96 {SMALL}"),
    "cifar10": Row("cifar10", CIFAR10),
    "cifar10-alone": Row("cifar10", f"{CIFAR10} --set distill.hard_weight=1"),
    "digits": Row("digits"),
    "few": Row("few"),
    "few-plain": Row("few", PLAIN),
}


def by_content(paths: Sequence[Path]) -> list[Path]:
    """Files in an order that only their content decides, without those whose content comes twice."""
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    counts = Counter(hashes.values())
    return sorted((path for path in paths if counts[hashes[path]] == 1), key=hashes.__getitem__)


def listed(table: Path, judges: Sequence[Path], learners: Sequence[Path]) -> Path:
    """A CSV of photos in class folders: those that judge, those that train and, every `VAL`-th, select."""
    if not (judges and learners):
        sys.exit(f"expected photos in {SHARED}, found none for {table.name}. Name their folder with EDGETL_SHARED")
    parts = [(path, "test") for path in judges]
    seen: dict[str, int] = {}
    for path in learners:
        seen[path.parent.name] = seen.get(path.parent.name, 0) + 1
        parts.append((path, "val" if seen[path.parent.name] % VAL == 0 else "train"))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "part"), *((path.resolve(), path.parent.name, part) for path, part in parts)])
    return table


def flowers(folder: Path, count: int) -> Path:
    """`count` flowers to learn from, and 1,200 that judge, the same for all counts."""
    photos = by_content(list((SHARED / "data" / "flowers").glob("*/*.jpg")))
    return listed(folder / f"flowers-{count}.csv", photos[:1200], photos[1200 : 1200 + count])


def whole_cifar10(folder: Path) -> Path:
    """All of CIFAR-10, as class folders below train/ and test/."""
    for part in ("train", "test"):
        if not (folder / "cifar10" / part).is_dir():
            zipfile.ZipFile(SHARED / "data" / f"cifar10_{part}.zip").extractall(folder / "cifar10")
    return folder / "cifar10"


def cifar10(folder: Path, count: int) -> Path:
    """`count` of CIFAR-10's training images, and 2,000 of its test images."""
    photos = whole_cifar10(folder)
    found = {part: by_content(list((photos / part).glob("*/*.jpg"))) for part in ("train", "test")}
    return listed(folder / f"cifar10-{count}.csv", found["test"][:2000], found["train"][:count])


def few(folder: Path) -> Path:
    """90 ants and 10 bees to learn from; hymenoptera's own judges."""
    photos, learners = SHARED / "data" / "hymenoptera", []
    for name, count in (("ants", 90), ("bees", 10)):
        learners += by_content(list((photos / "train" / name).glob("*.jpg")))[:count]
    return listed(folder / "few.csv", list((photos / "val").glob("*/*.jpg")), learners)


DATA: dict[str, Callable[[Path], Path | str]] = {
    "hymenoptera": lambda folder: SHARED / "data" / "hymenoptera",
    "flowers-200": lambda folder: flowers(folder, 200),
    "flowers-1000": lambda folder: flowers(folder, 1000),
    "flowers-3000": lambda folder: flowers(folder, 3000),
    "cifar10-3000": lambda folder: cifar10(folder, 3000),
    "cifar10": whole_cifar10,
    "digits": lambda folder: "digits",
    "few": few,
}


def run(name: str, row: Row, seed: int, folder: Path) -> Path:
    """One pipeline, unless it is done; the folder of the run."""
    out = folder / f"{name}-{seed}"
    if not (out / RUN).exists():
        whole = not out.exists()
        words = ["pipeline", str(DATA[row.data](folder)), "--out", str(out), "--seed", str(seed), *row.words.split()]
        begun = time.perf_counter()
        with (folder / f"{name}-{seed}.log").open("w") as log:
            code = subprocess.run([sys.executable, "-m", "edgetl", *words], stdout=log, stderr=log, check=False).returncode
        if code not in (0, 1):  # 1: done, and the verdict is `failed`
            sys.exit(f"edgetl {' '.join(words)} ended with {code}: see {log.name}")
        (out / SPENT).write_text(f"{(time.perf_counter() - begun) / 60:.1f}" if whole else "")
    return out


def recall(model: dict[str, Any]) -> float:
    """Mean recall of the classes."""
    return statistics.mean(float(each["recall"]) for each in model["per_class"])


def top1(model: dict[str, Any]) -> float:
    """The share of right answers."""
    return float(model["score"])


def middle(values: Sequence[float], form: str = "{:.3f}") -> str:
    """The median and, of several values, the range."""
    text = form.format(statistics.median(values))
    return f"{text} ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else text


def line(name: str, row: Row, runs: Sequence[Path]) -> str:
    """A row of the table."""
    reports = [json.loads((path / RUN).read_text()) for path in runs]
    teacher, int8 = ([each["models"][key] for each in reports] for key in ("teacher", "onnx_int8"))
    score = recall if row.data == "few" else top1
    quicker = [t["latency_ms"]["p50"] / s["latency_ms"]["p50"] for t, s in zip(teacher, int8, strict=True)]
    minutes = [float(text) for path in runs if (text := (path / SPENT).read_text())]
    cells = [
        f"`{' '.join([row.data, row.words]).strip()}`",
        f"{teacher[0]['arch']}; {', '.join(sorted({each['arch'] for each in int8}))}",
        str(len(runs)),
        middle([score(each) for each in teacher]),
        middle([score(each) for each in int8]),
        middle([each["parity"]["int8"]["agreement"] for each in reports]),
        middle([each["size_bytes"] / 1000 for each in int8], "{:.0f}"),
        middle(quicker, "{:.1f}"),
        middle(minutes, "{:.1f}") if minutes else "",
        ", ".join(sorted({each["verdict"] for each in reports})),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is not done, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if not SHARED.is_dir():
        parser.error(f"expected photos in {SHARED}, found nothing. Name their folder with EDGETL_SHARED")
    options.folder.mkdir(parents=True, exist_ok=True)
    done = {name: [run(name, ROWS[name], seed, options.folder) for seed in options.seeds] for name in options.rows}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    print(f"| {' | '.join(HEADS)} |")
    print(f"|{'---|' * len(HEADS)}")
    for name, runs in done.items():
        print(line(name, ROWS[name], runs), flush=True)


if __name__ == "__main__":
    main()
