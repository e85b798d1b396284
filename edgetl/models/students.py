"""edgetl's own students: small residual networks built for int8 on CPUs.

Plain 3x3 convolutions, ReLU, residual sums, global average pooling, one linear layer: every operator has an int8 kernel
under onnxruntime, Conv, BatchNorm and ReLU become one node, and dense convolutions lose little to per-channel weights
(depthwise ones lose much: Sheng et al. 2018, "A Quantization-Friendly Separable Convolution for MobileNets"). Widths are
multiples of 8, which is what the kernels pack. Blocks are those of He et al. 2016, "Deep Residual Learning", with the
change of shape left to a convolution of its own, so that no shortcut needs weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

EdgeName = Literal["edge_tiny", "edge_small", "edge_medium", "edge_large"]
EDGE_NAMES: tuple[EdgeName, ...] = ("edge_tiny", "edge_small", "edge_medium", "edge_large")
BASE_SIDE = 32  # pixels; the stem halves larger images until their side is below twice this


@dataclass(frozen=True, kw_only=True)
class EdgeShape:
    """The parameters that distinguish the students.

    Attributes:
        stem: channels of the first layers.
        widths: channels of each stage; a stage begins by halving height and width.
        depths: residual blocks of each stage.
    """

    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]


class ConvReLU(nn.Sequential):
    """3x3 convolution, BatchNorm, ReLU: [n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity: [n, width, h, w] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvReLU(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] -> [n, width, h, w]."""
        out: Tensor = self.relu(x + self.bn2(self.conv2(self.conv1(x))))
        return out


class EdgeNet(nn.Module):
    """A stem, stages that each halve the image, global average pooling, a linear head."""

    def __init__(self, shape: EdgeShape, num_classes: int, halvings: int) -> None:
        super().__init__()
        first = [ConvReLU(3, shape.stem, 2 if halvings else 1)]
        self.stem = nn.Sequential(*first, *(ConvReLU(shape.stem, shape.stem, 2) for _ in range(halvings - 1)))
        stages, inputs = [], shape.stem
        for width, depth in zip(shape.widths, shape.depths, strict=True):
            stages.append(nn.Sequential(ConvReLU(inputs, width, 2), *(Residual(width) for _ in range(depth))))
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, 3, side, side] -> logits [n, num_classes]."""
        logits: Tensor = self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))
        return logits


def edge(name: EdgeName, num_classes: int, image_size: int) -> EdgeNet:
    """A student for images of `image_size` pixels; parameters at 32 px and 10 classes are noted beside each."""
    match name:
        case "edge_tiny":  # 21 thousand
            shape = EdgeShape(stem=16, widths=(16, 24), depths=(1, 1))
        case "edge_small":  # 64 thousand
            shape = EdgeShape(stem=16, widths=(32, 40), depths=(1, 1))
        case "edge_medium":  # 252 thousand
            shape = EdgeShape(stem=16, widths=(32, 64, 72), depths=(1, 1, 1))
        case "edge_large":  # 981 thousand
            shape = EdgeShape(stem=32, widths=(48, 96, 152), depths=(1, 2, 1))
    return EdgeNet(shape, num_classes, early_halvings(image_size))


def early_halvings(image_size: int) -> int:
    """How often the stem halves the image, so that the first stage sees a side of 32 to 63 px (or less, if there is less).

    32 px: 0 (a stem of stride 1); 64: 1; 128: 2; 224: 2, which leaves 56 px, as in ResNet.
    """
    return max(0, (image_size // BASE_SIDE).bit_length() - 1)


def _initialize(module: nn.Module) -> None:
    """He et al. 2015, "Delving Deep into Rectifiers", eq. 14: forward or backward, variance is kept through ReLU."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
