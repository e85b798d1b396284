"""Pretrain the embedded backbone on CIFAR-10 JPEGs with edgetl's own training loop, and write it as float16.

    python scripts/pretrain.py --data FOLDER --work FOLDER [--out edgetl/assets]

FOLDER holds cifar10_train.zip and cifar10_test.zip ({train,test}/{class}/*.jpg). Killed, it continues from --work.
A thousand training images select the epoch; the test images are scored once, at the end, with the float16 weights.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from edgetl.core.preprocess import Preprocess
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.models.resnet import cifar_resnet16
from edgetl.settings import Runtime
from edgetl.training.device import pinned
from edgetl.training.fit import fit, network_outputs
from edgetl.training.job import Group, Recipe, TrainingJob

PREPROCESS = Preprocess(size=32, resize=32)
RECIPE = Recipe(epochs=24, batch_size=128, lr=0.2, weight_decay=5e-4, warmup=0.15, seed=0, optimizer="sgd")
VAL_IMAGES = 1000


def read(archive: Path) -> tuple[PixelSet, list[str], list[str]]:
    """The images of a zip in the order of their content's sha256; class names; the hashes."""
    with zipfile.ZipFile(archive) as files:
        names = [name for name in files.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        classes = sorted({Path(name).parent.name for name in names})
        rows = sorted((hashlib.sha256(data := files.read(name)).hexdigest(), Path(name).parent.name, data) for name in names)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for _, _, data in rows])
    labels = torch.tensor([classes.index(label) for _, label, _ in rows])
    return PixelSet(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels), classes, [sha for sha, _, _ in rows]


def top1(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest output is their label's."""
    return (outputs.argmax(1) == labels).float().mean().item()


def main() -> None:
    """Train, convert, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("edgetl/assets"))
    parser.add_argument("--threads", type=int, default=Runtime().threads)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    train, classes, hashes = read(args.data / "cifar10_train.zip")
    torch.manual_seed(RECIPE.seed)
    model = cifar_resnet16(len(classes))
    job = TrainingJob(
        title="pretrain",
        model=model,
        groups=[Group(parameters=list(model.parameters()))],
        train=PixelSet(train.pixels[VAL_IMAGES:], train.labels[VAL_IMAGES:]),
        val=PixelSet(train.pixels[:VAL_IMAGES], train.labels[:VAL_IMAGES]),
        augment=Augment(size=32, shift=4, flip=True),
        preprocess=PREPROCESS,
        loss=lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.labels, label_smoothing=0.1),
        score=top1,
        recipe=RECIPE,
    )
    with pinned(Runtime(device="cpu", threads=args.threads)) as device:
        result = fit(job, args.work, device)
        half = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
        model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in half.items()})
        test, test_classes, test_hashes = read(args.data / "cifar10_test.zip")
        assert test_classes == classes and not set(test_hashes) & set(hashes)
        score = top1(network_outputs(model, test, PREPROCESS, device), test.labels)
    write(
        args, half, classes, {"best_epoch": result.best_epoch, "val_top1": result.best_score, "test_top1": score, "test_images": len(test)}
    )


def write(args: argparse.Namespace, state: dict[str, torch.Tensor], classes: list[str], scores: dict[str, float]) -> None:
    """The weights with what there is to know about them as metadata, and a record beside the log."""
    from safetensors.torch import save_file

    described = {
        "arch": "cifar_resnet16",
        "classes": json.dumps(classes),
        "preprocess": PREPROCESS.to_json(),
        "trained_on": "cifar10",
        "provenance": json.dumps(
            {"script": "scripts/pretrain.py", "data": "CIFAR-10 as 32x32 JPEGs, 49,000 training images", **scores}, sort_keys=True
        ),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in state.items() if not name.endswith("num_batches_tracked")}
    save_file(weights, args.out / "cifar_resnet16_cifar10_fp16.safetensors", metadata=described)
    with (args.work / "log.csv").open() as stream:
        epochs = list(csv.DictReader(stream))
    (args.work / "record.json").write_text(
        json.dumps({**scores, "recipe": vars(RECIPE), "torch": torch.__version__, "epochs": epochs}, indent=1)
    )
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
