"""From the name of an architecture to a network."""

from __future__ import annotations

import functools
import math
from typing import Literal, cast, get_args

import torch
from torch import nn

from edgetl.core.errors import InputError, nearest
from edgetl.models.efficientnet_lite import LITE_NAMES, efficientnet_lite
from edgetl.models.heads import with_head
from edgetl.models.published import TIMM, published_preprocess, published_weights, timm_package, torchvision_names
from edgetl.models.resnet import cifar_resnet8, cifar_resnet16, cifar_resnet20
from edgetl.models.students import EDGE_NAMES, EdgeName, edge

CIFAR_NAMES = ("cifar_resnet8", "cifar_resnet16", "cifar_resnet20")
OWN_NAMES: tuple[str, ...] = (*CIFAR_NAMES, *EDGE_NAMES, *LITE_NAMES)
HEADS: tuple[Literal["linear", "mlp"], ...] = ("linear", "mlp")  # `+linear`, `+mlp` behind a name: the network with such a head
CHOOSY = ("vit_", "maxvit_")  # sizes must be multiples of something
COMPUTED_WIDTHS = (TIMM, "regnet_")  # widths may be computed with tensors, which hold nothing on the meta device
MAXVIT_STEP = 224  # windows of 7 x 7 after the image was halved five times


@functools.cache
def known_architectures() -> tuple[str, ...]:
    """Every name that `build` takes, beside `timm:NAME`: edgetl's own first, then torchvision's classification networks."""
    return (*OWN_NAMES, *torchvision_names())


def check_architecture(arch: str) -> None:
    """Prove that `build` knows a name, with or without a head behind it.

    Raises:
        InputError: it does not (with the nearest name), or timm is not installed.
    """
    arch = body_of(arch)
    if arch.startswith(TIMM):
        timm, name = timm_package(), arch.removeprefix(TIMM)
        if not timm.is_model(name):
            raise InputError(f"expected timm:NAME with a model that timm knows, found {arch!r}{nearest(name, timm.list_models())}")
    elif arch not in OWN_NAMES and arch not in known_architectures():
        raise InputError(
            f"expected a known architecture, found {arch!r}{nearest(arch, known_architectures())}. "
            f"Known are {', '.join(OWN_NAMES)}, torchvision's classification networks by name, and timm:NAME"
        )


def build(arch: str, num_classes: int, image_size: int) -> nn.Module:
    """A network with random weights for images of `image_size` x `image_size` pixels: [n, 3, s, s] -> logits [n, num_classes].

    It gives one tensor in training and evaluation: GoogLeNet and Inception are built without auxiliary classifiers. `+mlp` behind the
    name gives it a head with a hidden layer, `+linear` one that is a linear layer.

    Raises:
        InputError: an unknown name, fewer than two classes, or an image size at which the network cannot run.
    """
    check_architecture(arch)
    if num_classes < 2:
        raise InputError(f"expected at least two classes, found {num_classes}")
    plain = body_of(arch)
    _refuse_wrong_size(plain, image_size)
    network = _construct(plain, num_classes, image_size)
    for kind in HEADS:
        network = with_head(network, kind) if arch == f"{plain}+{kind}" else network
    return network


def body_of(arch: str) -> str:
    """`resnet18+mlp` -> `resnet18`: the name without the head."""
    return next((arch.removesuffix(f"+{kind}") for kind in HEADS if arch.endswith(f"+{kind}")), arch)


def trained_name(arch: str, head: Literal["linear", "mlp"]) -> str:
    """The name with which a checkpoint builds the network after `with_head`: SqueezeNet's own head is no linear layer."""
    return arch if head == "linear" and not arch.startswith("squeezenet") else f"{arch}+{head}"


def _construct(arch: str, num_classes: int, image_size: int) -> nn.Module:
    match arch:
        case "cifar_resnet20":
            return cifar_resnet20(num_classes)
        case "cifar_resnet16":
            return cifar_resnet16(num_classes)
        case "cifar_resnet8":
            return cifar_resnet8(num_classes)
        case _ if arch in get_args(EdgeName):
            return edge(cast(EdgeName, arch), num_classes, image_size)
        case _ if arch in LITE_NAMES:
            return efficientnet_lite(arch, num_classes)
        case _ if arch.startswith(COMPUTED_WIDTHS):
            wanted = torch.empty(0).device  # torch 2.5 gives `get_default_device` no device of a `with` block
            with torch.device("cpu"):
                return _from_elsewhere(arch, num_classes, image_size).to(wanted)
        case _:
            return _from_elsewhere(arch, num_classes, image_size)


def _from_elsewhere(arch: str, num_classes: int, image_size: int) -> nn.Module:
    if arch.startswith(TIMM):
        return _from_timm(arch, num_classes, image_size)
    from torchvision import models  # not before it is asked for: see published.py

    network: nn.Module = models.get_model(arch, weights=None, num_classes=num_classes, **_options(arch, image_size))
    return network


def _options(arch: str, image_size: int) -> dict[str, object]:
    """The arguments of a torchvision builder besides the number of classes.

    `transform_input` shifts ImageNet's normalization to the one that GoogLeNet's and Inception's published weights expect.
    """
    match arch:
        case "googlenet" | "inception_v3":
            return {"aux_logits": False, "init_weights": True, "transform_input": True}
        case "maxvit_t":
            return {"input_size": (image_size, image_size)}
        case _ if arch.startswith("vit_"):
            return {"image_size": image_size}
        case _:
            return {}


@functools.cache
def _refuse_wrong_size(arch: str, image_size: int) -> None:
    """Raise InputError with the sizes that would do, if the network cannot take `image_size`."""
    if runs_at(arch, image_size):
        return
    fitting = " or ".join(str(size) for size in _candidates(arch, image_size) if runs_at(arch, size))
    advice = f"The nearest that fits: {fitting}. Use --image-size" if fitting else "Choose another architecture"
    raise InputError(f"expected an image size that {arch} can run at, found {image_size} px. {advice}")


def runs_at(arch: str, image_size: int) -> bool:
    """Whether the network takes images of this size: its shapes are computed, nothing else."""
    if image_size >= smallest_size(arch):
        return True
    try:
        with torch.device("meta"), torch.no_grad():
            _construct(arch, 2, image_size).eval()(torch.empty(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError):  # what torch, torchvision and timm say to shapes
        return False
    return True


def smallest_size(arch: str) -> int | float:
    """The height and width, pixels, from which on every size works; infinite for networks that need certain sizes, or are unknown."""
    if arch in OWN_NAMES:
        return 1
    known = published_weights(arch)
    return max(known.meta["min_size"]) if known and not arch.startswith(CHOOSY) else math.inf


def _candidates(arch: str, image_size: int) -> tuple[int, ...]:
    """Sizes worth trying instead: multiples of the patch or window where there are such, else the smallest or the published one."""
    patch = arch.rpartition("_")[2]
    if arch == "maxvit_t" or (arch.startswith("vit_") and patch.isdigit()):
        step = MAXVIT_STEP if arch == "maxvit_t" else int(patch)
        below = image_size // step * step
        return (below, below + step) if below else (step,)
    if math.isfinite(smallest := smallest_size(arch)):
        return (int(smallest),)
    preprocess = published_preprocess(arch)
    return (preprocess.side,) if preprocess else ()


def _from_timm(arch: str, num_classes: int, image_size: int) -> nn.Module:
    """A timm network; one whose weights depend on the image size is told it."""
    timm, name = timm_package(), arch.removeprefix(TIMM)
    published = timm.get_pretrained_cfg(name)
    sized = {"img_size": image_size} if published and published.fixed_input_size else {}
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, **sized)
    return network
