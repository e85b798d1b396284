"""What the teacher's answers are worth: one student, trained with and without them.

    python benchmarks/distill_vs_alone.py DATA --teacher CHECKPOINT --work DIR [--keep 0.4] [--seeds 0 1 2] [--quick]

The student is the teacher, pruned, with the weights it inherits. `distilled` learns from the teacher's answers, as `edgetl distill`
does; `alone` from the labels. Both see the same views as often and are selected on val. The score is top-1 on the test part, which
selects nothing.

A finished training is kept in DIR and not repeated. `--quick`: one seed, two epochs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import find_checkpoint, load_model, read_checkpoint
from edgetl.settings import DataSettings, DistillSettings, Runtime
from edgetl.stages.distill import Distill
from edgetl.training.fit import outputs_of

VARIANTS = {"distilled": DistillSettings().hard_weight, "alone": 1.0}  # weight of the labels


def train(variant: str, seed: int, args: argparse.Namespace, data: Images, out: Path) -> dict[str, float]:
    """One training; scores are fractions."""
    settings = DistillSettings(
        arch="pruned",
        keep=args.keep,
        epochs=2 if args.quick else args.epochs,
        hard_weight=VARIANTS[variant],
        seed=seed,
    )
    runtime = Runtime(device=args.device)
    stage = Distill(teacher=find_checkpoint(args.teacher, "finetune"), data=data.only("train", "val"), settings=settings, runtime=runtime)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = stage.run(out).checkpoint.path
    return {"val": score(checkpoint, data.only("val")), "test": score(checkpoint, data.only("test"))}


def score(checkpoint: Path, images: Images) -> float:
    """Top-1 of a checkpoint, a fraction."""
    preprocess = read_checkpoint(checkpoint).preprocess
    pixels = pixel_set(images, preprocess, margin=False)
    outputs = outputs_of(load_model(checkpoint), pixels, preprocess, torch.device("cpu"), batch_size=64)
    return float((outputs.argmax(1) == pixels.labels).float().mean())


def main() -> None:
    """Train what is not there yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--teacher", type=Path, required=True, help="a checkpoint, or the folder that `edgetl finetune` wrote")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=DistillSettings().keep)
    parser.add_argument("--epochs", type=int, default=None, help="default: those of `edgetl distill`")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs: does it run?")
    args = parser.parse_args()
    data = open_images(args.data, DataSettings())
    for seed in args.seeds[:1] if args.quick else args.seeds:
        for variant in VARIANTS:
            out = args.work / f"{variant}-keep{args.keep}-epochs{2 if args.quick else args.epochs or 'auto'}-seed{seed}"
            if not (out / "scores.json").is_file():
                found = train(variant, seed, args, data, out)
                (out / "scores.json").write_text(json.dumps({"variant": variant, **found}), encoding="utf-8")
    pattern = f"*-keep{args.keep}-epochs{2 if args.quick else args.epochs or 'auto'}-seed*/scores.json"
    report([json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.work.glob(pattern))], args, data)


def report(rows: list[Mapping[str, Any]], args: argparse.Namespace, data: Images) -> None:
    """The table, with machine, versions and n."""
    counts = data.counts()
    teacher = find_checkpoint(args.teacher, "finetune").path
    print(f"{platform.processor() or platform.machine()}, {Runtime().threads} threads, torch {torch.__version__}")
    print(
        f"{data.name}: {counts['train']} train, {counts['val']} val, {counts['test']} test; student: the teacher pruned to {args.keep:.0%}"
    )
    print(f"teacher: top-1 {score(teacher, data.only('test')):.3f} on test, {score(teacher, data.only('val')):.3f} on val")
    print(f"{'student':<14}{'n':>3}{'test top-1':>18}{'val top-1':>18}")
    for variant in VARIANTS:
        found = [row for row in rows if row["variant"] == variant]
        if found:
            print(f"{variant:<14}{len(found):>3}{spread(found, 'test'):>18}{spread(found, 'val'):>18}")


def spread(rows: list[Mapping[str, Any]], key: str) -> str:
    """Mean and standard deviation."""
    values = [row[key] for row in rows]
    return f"{statistics.mean(values):.3f} +- {statistics.stdev(values) if len(values) > 1 else float('nan'):.3f}"


if __name__ == "__main__":
    main()
