"""Time to accuracy of `edgetl finetune` beside the loop that transfer-learning tutorials teach: one table.

    python benchmarks/finetune_vs_tutorial.py [--seeds 0 1 2] [--tutorial-seeds 0] [--epochs 25] [--quick] [--variants fixed full]

The same network (SqueezeNet 1.0), the same weights, the same photos: `train/` to learn from, `val/` to be judged on. edgetl holds a fold of
`train/` out for its choices, the tutorial's loop learns from all of it. Its two variants: full fine-tuning, and a new head on fixed
features; 25 epochs, batches of 4, SGD at 1e-3 with momentum 0.9, a tenth of it every 7 epochs, random resized crops and flips, 4 loading
processes, a look at `val/` after each epoch. The tutorial's clock runs from the first batch; edgetl's is that of the whole command, from
starting Python to its end, baselines included. edgetl takes turns with the tutorial's variants: other work on the machine hits both.
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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from edgetl.data.decode import pixel_set
from edgetl.data.sources import open_images
from edgetl.models.checkpoint import find_checkpoint, load_model, read_checkpoint
from edgetl.models.state import read_state
from edgetl.settings import DataSettings
from edgetl.training.fit import network_outputs

SHARED = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
NAMES = {"fixed": True, "full": False}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Run:
    """Seconds, and the share of right answers on the judging photos; `reached`: seconds when that share was first reached."""

    seconds: float
    score: float
    reached: float


def edgetl(photos: Path, weights: Path, seed: int, strategy: str) -> Run:
    """`edgetl finetune`, as its own process."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["finetune", photos, "--out", Path(folder) / "run", "--arch", "squeezenet1_0", "--weights", weights]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "edgetl", *map(str, words), "--seed", str(seed), "--strategy", strategy], check=True, capture_output=True
        )
        seconds = time.perf_counter() - started
        checkpoint = find_checkpoint(Path(folder) / "run").path
        preprocess = read_checkpoint(checkpoint).preprocess
        judged = pixel_set(open_images(str(photos), DataSettings()).only("test"), preprocess, margin=False)
        answers = network_outputs(load_model(checkpoint), judged, preprocess, torch.device("cpu"), 32).argmax(1)
        return Run(seconds, (answers == judged.labels).float().mean().item(), seconds)


def tutorial(photos: Path, weights: Path, seed: int, *, fixed: bool, epochs: int) -> Run:
    """The usual loop; `fixed`: only the new head learns."""
    return taught(photos, weights, seed, fixed=fixed, epochs=epochs)[1]


def taught(photos: Path, weights: Path, seed: int, *, fixed: bool, epochs: int) -> tuple[nn.Module, Run]:
    """What the usual loop ends with, in evaluation mode."""
    torch.manual_seed(seed)
    model = models.squeezenet1_0(weights=None)
    model.load_state_dict({name: value.float() for name, value in read_state(weights).items()})
    if fixed:
        model.requires_grad_(False)
    batches, judges = loaders(photos)
    model.classifier[1] = nn.Conv2d(512, sum(each.is_dir() for each in (photos / "train").iterdir()), kernel_size=1)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    started, history = time.perf_counter(), []
    for _ in range(epochs):
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        history.append((time.perf_counter() - started, accuracy(model, judges)))
    seconds, score = time.perf_counter() - started, history[-1][1]
    return model.eval(), Run(seconds, score, next(at for at, found in history if found >= score))


def loaders(photos: Path) -> tuple[DataLoader[tuple[Tensor, Tensor]], DataLoader[tuple[Tensor, Tensor]]]:
    """Batches of 4 to learn from, and to be judged on."""
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    random = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *end])
    center = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *end])
    train, val = (datasets.ImageFolder(str(photos / part), views) for part, views in (("train", random), ("val", center)))
    return DataLoader(train, batch_size=4, shuffle=True, num_workers=4), DataLoader(val, batch_size=4, num_workers=4)


@torch.no_grad()
def accuracy(model: nn.Module, judges: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """The share of right answers."""
    model.eval()
    right = [(model(x).argmax(1) == y).float() for x, y in judges]
    return torch.cat(right).mean().item()


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "hymenoptera")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "squeezenet1_0_imagenet_fp16.safetensors")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tutorial-seeds", type=int, nargs="+", default=[0], help="fewer: a run takes minutes")
    parser.add_argument("--variants", nargs="*", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--strategy", default="auto", help="of edgetl")
    parser.add_argument("--epochs", type=int, default=25, help="of the tutorial")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs: does it run?")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.tutorial_seeds, args.epochs = [0], [0], 2
    jobs: list[tuple[str, Callable[[], Run]]] = []
    for turn in range(max(len(args.seeds), len(args.tutorial_seeds))):
        for seed in args.seeds[turn : turn + 1]:
            jobs.append((f"edgetl finetune ({args.strategy})", partial(edgetl, args.data, args.weights, seed, args.strategy)))
        for seed in args.tutorial_seeds[turn : turn + 1]:
            for name, fixed in NAMES.items():
                if name in args.variants:
                    label = f"tutorial, {'fixed features' if fixed else 'full'}"
                    jobs.append((label, partial(tutorial, args.data, args.weights, seed, fixed=fixed, epochs=args.epochs)))
    found: dict[str, list[Run]] = {}
    for name, job in jobs:
        found.setdefault(name, []).append(run := job())
        print(f"  {name}: {run.seconds:.1f} s, {run.score:.3f}", file=sys.stderr, flush=True)
    report(found, args.epochs)


def report(found: dict[str, list[Run]], epochs: int) -> None:
    """The table, with machine, versions and n."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {epochs} epochs of the tutorial's loop")
    print(f"{'':<28}{'n':>3}{'seconds':>18}{'top1 at the end':>20}{'seconds to that':>18}")
    for name, runs in found.items():
        cells = [spread([run.seconds for run in runs], 1), spread([run.score for run in runs], 3), spread([run.reached for run in runs], 1)]
        print(f"{name:<28}{len(runs):>3}{cells[0]:>18}{cells[1]:>20}{cells[2]:>18}")
    ours = [runs for name, runs in found.items() if name.startswith("edgetl")]
    theirs = [runs for name, runs in found.items() if name.startswith("tutorial")]
    if not (ours and theirs):
        return
    better = max(theirs, key=lambda runs: statistics.mean(run.score for run in runs))
    goal = statistics.mean(run.score for run in better)
    there = [run for run in ours[0] if run.score >= goal]
    print(f"the better tutorial variant ends with {goal:.3f}; edgetl has that in {len(there)} of {len(ours[0])} runs")
    if there:
        whole, mine = statistics.mean(run.seconds for run in better), statistics.mean(run.seconds for run in there)
        first = statistics.mean(run.reached for run in better)
        print(f"its {epochs} epochs take {whole / mine:.1f} times edgetl's time; up to its first such score, {first / mine:.1f} times")


def spread(values: list[float], digits: int) -> str:
    """Mean +- standard deviation."""
    deviation = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
