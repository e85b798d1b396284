"""Residual networks for small images (He et al. 2016, "Deep Residual Learning", section 4.2), 32x32 RGB.

Three groups of basic blocks at strides 1, 2, 2; shortcuts that change the shape are 1x1 convolutions (option B).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """A stem, three groups of basic blocks, global average pooling, a linear head."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, blocks: tuple[int, int, int], widths: tuple[int, int, int], num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        inputs = widths[0]
        for group, (depth, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stride = 1 if group == 1 else 2
            layers = [BasicBlock(inputs if i == 0 else width, width, stride if i == 0 else 1) for i in range(depth)]
            self.add_module(f"layer{group}", nn.Sequential(*layers))
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, 3, 32, 32] -> logits [n, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def cifar_resnet20(num_classes: int = 10) -> CifarResNet:
    """The paper's network of twenty weighted layers, 272 thousand parameters."""
    return CifarResNet((3, 3, 3), (16, 32, 64), num_classes)


def cifar_resnet16(num_classes: int = 10) -> CifarResNet:
    """A sibling that is shallow where pixels are many and wide where they are few, 543 thousand parameters.

    It trains at the speed of `cifar_resnet20` on a CPU with twice the weights; the embedded backbone.
    """
    return CifarResNet((2, 2, 3), (16, 48, 96), num_classes)


def cifar_resnet8(num_classes: int = 10) -> CifarResNet:
    """Eight weighted layers, 78 thousand parameters: the size of MLPerf Tiny's image classification network."""
    return CifarResNet((1, 1, 1), (16, 32, 64), num_classes)
