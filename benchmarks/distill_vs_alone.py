"""What the teacher is worth to its student: one student, trained with and without what it has from the teacher.

    python benchmarks/distill_vs_alone.py DATA --teacher CHECKPOINT --work DIR [--keep 0.4] [--seeds 0 1 2] [--quick]

The student is the teacher, pruned. `distilled`, as `edgetl distill` makes it, inherits its weights and learns from the teacher's
answers; `inherited` has its weights too, and learns from the labels; `alone` has nothing from the teacher: random weights (He et al.
2015), the labels, and as many more epochs and as many learning rates as are asked for, of which val chooses. All see the same random
views and are selected on val. The score is top-1 on the test part, which selects nothing.

A finished training is kept in DIR and not repeated. `--quick`: one seed, two epochs, one rate.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.decode import pixel_set
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import CheckpointInfo, find_checkpoint, load_model, read_checkpoint
from edgetl.settings import DataSettings, DistillSettings, Runtime
from edgetl.stages.distill import Distill, Start
from edgetl.training.fit import network_outputs
from edgetl.training.student_loss import Views

VARIANTS = {"distilled": 0.1, "inherited": 1.0, "alone": 1.0}  # weight of the labels


@dataclass(frozen=True, kw_only=True)
class Alone(Distill):
    """The same narrow network, none of its weights."""

    def start(self, network: nn.Module, teacher: CheckpointInfo, sees: Preprocess, views: Views, device: torch.device, out: Path) -> Start:
        """The pruned teacher with random weights for ReLU networks, He et al. 2015, eq. 10."""
        start = super().start(network, teacher, sees, views, device, out)
        torch.manual_seed(self.settings.seed)
        for layer in start.model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.reset_parameters()
        return start


def train(variant: str, seed: int, lr: float | None, args: argparse.Namespace, data: Images, out: Path) -> dict[str, float]:
    """One training; scores are fractions."""
    settings = DistillSettings(
        arch="pruned",
        keep=args.keep,
        epochs=epochs(variant, args),
        hard_weight=VARIANTS[variant],
        lr=lr,
        patience=10_000 if variant == "alone" else DistillSettings().patience,
        seed=seed,
    )
    stage = (Alone if variant == "alone" else Distill)(
        teacher=find_checkpoint(args.teacher, "finetune"),
        data=data.only("train", "val"),
        settings=settings,
        runtime=Runtime(device=args.device),
    )
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = stage.run(out).checkpoint.path
    return {"val": score(checkpoint, data.only("val")), "test": score(checkpoint, data.only("test"))}


def epochs(variant: str, args: argparse.Namespace) -> int | None:
    """Of one training; None: the stage's own."""
    return 2 if args.quick else args.alone_epochs if variant == "alone" else args.epochs


def score(checkpoint: Path, images: Images) -> float:
    """Top-1 of a checkpoint, a fraction."""
    preprocess = read_checkpoint(checkpoint).preprocess
    pixels = pixel_set(images, preprocess, margin=False)
    outputs = network_outputs(load_model(checkpoint), pixels, preprocess, torch.device("cpu"), batch_size=64)
    return float((outputs.argmax(1) == pixels.labels).float().mean())


def main() -> None:
    """Train what is not there yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--teacher", type=Path, required=True, help="a checkpoint, or the folder that `edgetl finetune` wrote")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=None, help="default: those of `edgetl distill`")
    parser.add_argument("--alone-epochs", type=int, default=60)
    parser.add_argument("--alone-lrs", nargs="+", type=float, default=[1e-3, 3e-4], help="peak rates, of which val chooses")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs: does it run?")
    args = parser.parse_args()
    data = open_images(args.data, DataSettings())
    rows = [
        {"variant": variant, "seed": seed, **best(variant, seed, args, data)}
        for seed in (args.seeds[:1] if args.quick else args.seeds)
        for variant in VARIANTS
    ]
    report(rows, args, data)


def best(variant: str, seed: int, args: argparse.Namespace, data: Images) -> dict[str, Any]:
    """The scores of a variant, at the rate that val prefers (of equals the first)."""
    rates = [None] if variant != "alone" else args.alone_lrs[:1] if args.quick else args.alone_lrs
    found = []
    for lr in rates:
        name = f"{variant}-keep{args.keep}-epochs{epochs(variant, args) or 'auto'}-lr{lr or 'auto'}-seed{seed}"
        kept = args.work / name / "scores.json"
        if not kept.is_file():
            kept.write_text(json.dumps({"lr": lr, **train(variant, seed, lr, args, data, kept.parent)}), encoding="utf-8")
        found.append(json.loads(kept.read_text(encoding="utf-8")))
    return max(found, key=lambda scores: float(scores["val"]))


def report(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace, data: Images) -> None:
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
            rates = ", ".join(dict.fromkeys(str(row["lr"]) for row in found if row["lr"]))
            print(f"{variant:<14}{len(found):>3}{spread(found, 'test'):>18}{spread(found, 'val'):>18}  {rates and f'rates {rates}'}")


def spread(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """Mean and standard deviation."""
    values = [row[key] for row in rows]
    return f"{statistics.mean(values):.3f} +- {statistics.stdev(values) if len(values) > 1 else float('nan'):.3f}"


if __name__ == "__main__":
    main()
