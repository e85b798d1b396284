"""Heads: the last layer of a classifier of any architecture, and the features before it."""

from __future__ import annotations

import copy
import itertools
import math
import sys
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError

MOST_BLOCKS = 6  # the head included
FEWEST_UNITS = 4
HEAD_PATHS = ("fc", "classifier", "head", "heads", "head.fc")
HIDDEN = 256


class Mlp(nn.Sequential):
    """A head with one hidden layer: [n, d] -> [n, k]."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(HIDDEN, classes))


def head_name(model: nn.Module) -> str:
    """The dotted name of the head: a Linear, an `Mlp`, or SqueezeNet's 1x1 convolution.

    Raises:
        InputError: no such layer where torchvision's and timm's networks have theirs.
    """
    if _is_squeezenet(model):
        return "classifier.2" if _pooled(model) else "classifier.1"
    found: str | None
    if callable(last := getattr(model, "get_classifier", None)):  # timm's own way to say it
        found = next((name for name, module in model.named_modules() if module is last()), None)
    else:
        found = next((name for path in HEAD_PATHS if (name := _last_linear(model, path))), None)
    if found is None or not isinstance(model.get_submodule(found), nn.Linear | Mlp):
        raise InputError(
            f"expected a network that ends in one linear layer, found {type(model).__name__} without one in {', '.join(HEAD_PATHS)}. "
            "Choose another architecture"
        )
    return found


def _last_linear(model: nn.Module, path: str) -> str | None:
    """The last Linear (or Mlp) in `path`, which is one itself or holds one at its end."""
    name, _, rest = path.partition(".")
    child = getattr(model, name, None)
    if rest and isinstance(child, nn.Module):
        inner = _last_linear(child, rest)
        return f"{name}.{inner}" if inner else None
    if isinstance(child, nn.Linear | Mlp):
        return name
    children = list(child.named_children()) if isinstance(child, nn.Sequential) else []
    return f"{name}.{children[-1][0]}" if children and isinstance(children[-1][1], nn.Linear | Mlp) else None


def head_layer(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The layer that gives the logits."""
    layer = model.get_submodule(head_name(model))
    layer = layer[-1] if isinstance(layer, Mlp) else layer
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer


def feature_count(model: nn.Module) -> int:
    """How many features enter the head."""
    head = model.get_submodule(head_name(model))
    first = head[0] if isinstance(head, Mlp) else head
    assert isinstance(first, nn.Linear | nn.Conv2d)
    return int(first.weight.shape[1])


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The head's weights and biases."""
    return list(model.get_submodule(head_name(model)).parameters())


def head_keys(model: nn.Module) -> frozenset[str]:
    """The names of those parameters in the state dict."""
    name = head_name(model)
    return frozenset(f"{name}.{key}" for key, _ in model.get_submodule(name).named_parameters())


def with_head(model: nn.Module, kind: Literal["linear", "mlp"]) -> nn.Module:
    """`model` itself with a head of that kind, as wide as the one it had; one that has it already keeps it.

    SqueezeNet's convolution, ReLU and average, in this order, make way for the average and a head behind it: a ReLU between a linear
    layer and its loss only stops classes from learning where it is 0.
    """
    layer = head_layer(model)
    classes, features = layer.weight.shape[:2]
    with torch.device(layer.weight.device):
        head = Mlp(features, classes) if kind == "mlp" else nn.Linear(features, classes)
        if _is_squeezenet(model) and not _pooled(model):
            model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), head)
        elif kind == "mlp":
            model.set_submodule(head_name(model), head)
    return model


def _is_squeezenet(model: nn.Module) -> TypeGuard[Any]:
    """Whether it is torchvision's SqueezeNet. Whoever made one has imported torchvision, which takes longer than torch."""
    if "torchvision" not in sys.modules:
        return False
    from torchvision.models import SqueezeNet

    return isinstance(model, SqueezeNet)


def _pooled(model: Any) -> bool:
    """Whether the average comes before the head."""
    return isinstance(model.classifier[-1], nn.Linear | Mlp)


@torch.no_grad()
def set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Put weights [k, d] and biases [k] into a layer, in place; one without biases takes none."""
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(bias)


def split_head(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """`(body, head)` with `head(body(x)) == model(x)` in evaluation mode; both share their weights with `model`.

    The body gives what enters the head, features [n, d]; SqueezeNet's a map [n, 512, h, w] where its last layer is
    a convolution, followed by ReLU and pooling.
    """
    if _is_squeezenet(model) and not _pooled(model):
        return model.features, nn.Sequential(model.classifier, nn.Flatten(1))
    name = head_name(model)
    return _replaced(model, name.split("."), nn.Identity()), model.get_submodule(name)


def _replaced(module: nn.Module, path: list[str], layer: nn.Module) -> nn.Module:
    """A twin of `module` that shares all children but the one at `path`."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    child = module._modules[path[0]]
    assert child is not None
    twin._modules[path[0]] = _replaced(child, path[1:], layer) if len(path) > 1 else layer
    return twin


def parameter_blocks(model: nn.Module) -> list[list[nn.Parameter]]:
    """Every parameter once, in at most `MOST_BLOCKS` blocks from input to head; the head (last layer) is the last block.

    The blocks are the network's stages, or runs of neighboring layers where it has no stages, for learning rates that fall
    from the head to the input (Howard & Ruder 2018, section 3.2).
    """
    head = head_parameters(model)
    taken = {id(parameter) for parameter in head}
    units = []
    for unit in _units(model):
        fresh = [p for p in unit if id(p) not in taken]
        taken.update(id(p) for p in fresh)
        if fresh:
            units.append(fresh)
    blocks = _merged(units, MOST_BLOCKS - 1)
    return [*blocks, head]


def freeze_blocks(model: nn.Module, count: int) -> None:
    """The first `count` blocks do not learn, in place."""
    for parameter in itertools.chain.from_iterable(parameter_blocks(model)[:count] if count else ()):
        parameter.requires_grad_(False)


def _units(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of stages, in order: the heaviest part is opened until there are a few; norms join the layer before them."""
    parts = _opened(model)
    while len(_with_norms(parts)) <= FEWEST_UNITS:  # one is the head
        closed = [i for i, part in enumerate(parts) if isinstance(part, nn.Module) and any(True for _ in part.children())]
        if not closed:
            break
        heaviest = max(closed, key=lambda i: _weight(parts[i]))
        parts[heaviest : heaviest + 1] = _opened(parts[heaviest])
    return _with_norms(parts)


def _opened(module: nn.Module | nn.Parameter) -> list[nn.Module | nn.Parameter]:
    """A module's own parameters, then its children."""
    assert isinstance(module, nn.Module)
    return [*module.parameters(recurse=False), *(child for child in module.children() if any(True for _ in child.parameters()))]


def _weight(part: nn.Module | nn.Parameter) -> int:
    return part.numel() if isinstance(part, nn.Parameter) else sum(p.numel() for p in part.parameters())


def _with_norms(parts: list[nn.Module | nn.Parameter]) -> list[list[nn.Parameter]]:
    """One unit for each part, but norms join the layer before them and bare parameters (embeddings) the layer after them."""
    units: list[list[nn.Parameter]] = []
    bare: list[nn.Parameter] = []
    for part in parts:
        if isinstance(part, nn.Parameter):
            bare.append(part)
            continue
        parameters = [*bare, *part.parameters()]
        bare = []
        if units and all(p.ndim <= 1 for p in parameters):
            units[-1].extend(parameters)
        else:
            units.append(parameters)
    return [*units, bare] if bare else units


def _merged(units: list[list[nn.Parameter]], most: int) -> list[list[nn.Parameter]]:
    """At most `most` runs of neighboring units, as even in number as can be, those at the input the longer ones."""
    count = min(most, len(units))
    bounds = [math.ceil(i * len(units) / count) for i in range(count + 1)]
    return [[p for unit in units[begin:end] for p in unit] for begin, end in itertools.pairwise(bounds)]
