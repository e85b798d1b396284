"""Float networks of many kinds for `ptq.py --networks DIR`, each trained for a few epochs on CIFAR-10's photos.

    python benchmarks/networks.py DIR [--names NAME...] [--images 6000] [--epochs 4]

Parity needs no record accuracy: what matters are the operators, and weights and activations that training has shaped. Inputs are
64 px, those of the wider networks 32 px. Exported as a user would, with torch.onnx.export, two with its older exporter at opset 13; a
network that is there already is kept. `keras_*` runs in an environment of its own (`--keras DIR/bin/python`, with pip install tensorflow
tf2onnx "onnx<1.20") and is skipped without one, as `timm_*` is without timm.

Needs torchvision, and the CIFAR-10 zips of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from ptq import at_32, drawn, upsampled
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, RATE = 64, 2e-3


@dataclass(frozen=True)
class Network:
    """What to train, the size of its input in pixels, and the opset of the TorchScript exporter (None: torch.export's)."""

    build: Callable[[], nn.Module]
    size: int
    opset: int | None = None


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model: nn.Module = torchvision.models.get_model(name, num_classes=10)
        return model

    return build


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, num_classes=10)
        return model

    return build


def _vision_transformer() -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 4, "num_layers": 6, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 256}
    model: nn.Module = torchvision.models.VisionTransformer(**sizes, num_classes=10)
    return model


NETWORKS = {
    "efficientnet_b0": Network(_torchvision("efficientnet_b0"), 64),
    "mobilenet_v2": Network(_torchvision("mobilenet_v2"), 64),
    "shufflenet_v2_x1_0": Network(_torchvision("shufflenet_v2_x1_0"), 64),
    "regnet_y_400mf": Network(_torchvision("regnet_y_400mf"), 64),
    "resnet18": Network(_torchvision("resnet18"), 32),
    "vit_small": Network(_vision_transformer, 32),
    "mobilenet_v3_large_opset13": Network(_torchvision("mobilenet_v3_large"), 64, opset=13),
    "timm_convnext_atto": Network(_timm("convnext_atto"), 64),
    "timm_mobilenetv3_small_100_opset13": Network(_timm("mobilenetv3_small_100"), 64, opset=13),
}
KERAS, TIMM = "keras_mobilenet_v2", "timm_"


def train(network: Network, images: int, epochs: int) -> tuple[nn.Module, float]:
    """A trained network, and the share of 1,000 test photos that it is right on."""
    torch.manual_seed(0)
    x, y = loaded("train", images, network.size)
    model = network.build().to(memory_format=torch.channels_last)
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):  # type: ignore[no-untyped-call]
            flipped = torch.where((torch.rand(BATCH) < 0.5)[:, None, None, None], x[index].flip(3), x[index])
            loss = F.cross_entropy(model(flipped.contiguous(memory_format=torch.channels_last)), y[index], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval()
    x, y = loaded("test", 1000, network.size)
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in torch.split(x, BATCH)]) == y
    return model, float(right.float().mean())


def loaded(part: str, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Photos of CIFAR-10: float32 [count, 3, size, size] and int64 [count]."""
    shared = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared"))
    found = drawn(shared / "data" / f"cifar10_{part}.zip", count, np.random.default_rng(1))
    prepare = upsampled if size == 64 else at_32
    return torch.from_numpy(np.stack([prepare(data) for data, _ in found])), torch.tensor([label for _, label in found])


def export(model: nn.Module, network: Network, path: Path) -> None:
    """Write it with a batch of any size."""
    inputs = (torch.randn(2, 3, network.size, network.size),)
    model.to(memory_format=torch.contiguous_format)
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"], "verbose": False}
    if network.opset is None:
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, inputs, path, dynamic_shapes=batch, dynamo=True, external_data=False, **names)
    else:
        torch.onnx.export(model, inputs, path, dynamic_axes={"input": {0: "batch"}}, dynamo=False, opset_version=network.opset, **names)


def keras(python: Path, images: int, epochs: int, path: Path) -> None:
    """Let another Python train Keras' MobileNetV2, 64 px, and write it with tf2onnx."""
    with tempfile.TemporaryDirectory() as folder:
        x, y = loaded("train", images, 64)
        np.savez(Path(folder) / "train.npz", x=x.permute(0, 2, 3, 1).numpy(), y=y.numpy())
        subprocess.run([python, "-c", IN_KERAS, Path(folder) / "train.npz", path, str(epochs), str(BATCH), str(RATE)], check=True)


IN_KERAS = """
import sys

import numpy as np
import tensorflow as tf
import tf2onnx

data, path, epochs, batch, rate = sys.argv[1:]
stored = np.load(data)
tf.keras.utils.set_random_seed(0)
model = tf.keras.applications.MobileNetV2(input_shape=(64, 64, 3), weights=None, classes=10)
model.compile(tf.keras.optimizers.AdamW(float(rate)), "sparse_categorical_crossentropy")
model.fit(stored["x"], stored["y"], batch_size=int(batch), epochs=int(epochs), verbose=0)
signature = [tf.TensorSpec((None, 64, 64, 3), tf.float32, name="input")]
tf2onnx.convert.from_function(
    tf.function(lambda x: model(x, training=False)), signature, opset=13, inputs_as_nchw=["input"], output_path=path
)
"""


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="+", default=[*NETWORKS, KERAS], choices=[*NETWORKS, KERAS])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--keras", type=Path, default=None, help="a Python with tensorflow and tf2onnx")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        size = 64 if name == KERAS else NETWORKS[name].size
        path = options.folder / f"{name}_cifar{size}.onnx"
        if path.exists() or (name.startswith(TIMM) and find_spec("timm") is None):
            continue
        begin, found = time.perf_counter(), ""
        if name != KERAS:
            model, right = train(NETWORKS[name], options.images, options.epochs)
            export(model, NETWORKS[name], path)
            found = f"{right:.3f} on 1,000 test photos, "
        elif options.keras:
            keras(options.keras, options.images, options.epochs, path)
        else:
            continue
        print(f"{name}: {found}{time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
