"""Structured pruning: a network gives a narrower one that inherits its weights.

Whole channels go, the least important of all layers first; what depends on them (norms, next layers, the other side of a
sum) is narrowed along (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning"; the library torch-pruning). What is
left is an ordinary dense network, which every runtime makes use of.
"""

from __future__ import annotations

import bisect
import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.models.heads import head_layer
from edgetl.models.narrow import narrow
from edgetl.models.published import TIMM

ROUND_TO = (8, 4, 2, 1)  # channels: int8 kernels like eights; narrow networks need finer steps to come close
CLOSE = 0.97  # of the share that was asked for: nearer with eights than that, and finer steps are not tried
PRICE = 0.6  # exponent: channels that cost many parameters have to matter more (measured: better than 0.8 and 1)
THINNEST = 0.15  # of a layer's channels are kept at least
UNSUITED = ("vit_", "swin_", "maxvit_", "shufflenet_")  # channels are regrouped on the way: torch-pruning cannot follow them


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A narrower network, in evaluation mode.

    Attributes:
        share: its parameters, as a fraction of the original's; never above what was asked for.
        kept: layer -> which of the original's output channels (or features) it has, int64, of every convolution and Linear.
    """

    model: nn.Module
    share: float
    kept: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Channels that can only go together with those of other layers: which of `size / repeats` is free to choose.

    Attributes:
        layer: the layer that is cut first, by name; the others follow.
        importance: of each choice, float [size / repeats]: the squared change of the outputs, less the more parameters go with it.
        repeats: groups of a grouped convolution, which all lose the same channels.
        touched: (layer, whether its outputs) -> channels that go with one choice.
    """

    layer: str
    importance: Tensor
    repeats: int
    touched: Mapping[tuple[str, bool], float]


def is_prunable(arch: str) -> bool:
    """Whether networks of this name can be pruned, as far as the name tells, torchvision's or timm's."""
    return not arch.removeprefix(TIMM).startswith(UNSUITED)


def check_prunable(arch: str) -> None:
    """Prove that networks of this name can be pruned, as far as the name tells.

    Raises:
        InputError: they cannot.
    """
    if not is_prunable(arch):
        raise _refusal(arch, "its channels are regrouped on the way")


def prune(model: nn.Module, arch: str, image_size: int, keep: float, effects: Mapping[str, Tensor]) -> Pruned:
    """The network with at most the share `keep` of its parameters, and as close to that as whole channels allow.

    The model itself is left as it is; its head keeps its outputs. The importance of a channel is the mean square, over examples, of what
    the outputs lose with it to first order, in all layers that read it (a gate on the channel; Molchanov et al. 2019, "Importance
    Estimation for Neural Network Pruning", section 3.1), over a power of the number of parameters that go with it.

    Args:
        model: the network.
        arch: its name, for messages.
        image_size: height and width of its input, pixels.
        keep: share of the parameters, in (0, 1).
        effects: layer -> derivative of the outputs by a factor on each of the layer's input channels, [examples, inputs].

    Raises:
        InputError: a network that torch-pruning cannot take apart, or not that far.
    """
    check_prunable(arch)
    network = copy.deepcopy(model).eval().requires_grad_(True)
    try:
        graph = _graph(network, image_size)
        counts = _choose(network, _bundles(network, graph, effects), keep)
        history = _cut(network, graph, counts) if counts else None
        kept = _kept(model, image_size, history) if history else {}
    except Exception as error:  # whatever the library says to a network that it does not understand
        raise _refusal(arch, f"{type(error).__name__}: {error}") from error
    if not kept:
        raise _refusal(arch, f"its layers are too narrow to leave {keep:.0%} of its parameters")
    pruned = _checked(model, network, arch, image_size)
    return Pruned(model=pruned, share=parameter_count(pruned) / parameter_count(model), kept=kept)


def parameter_count(model: nn.Module) -> int:
    """How many trained numbers there are."""
    return sum(p.numel() for p in model.parameters())


def output_weights(model: nn.Module) -> dict[str, Tensor]:
    """Layer -> its weight [outputs, ...], of every convolution and Linear."""
    return {name: layer.weight for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def _graph(network: nn.Module, size: int) -> Any:
    """What depends on what, as torch-pruning finds out by running the network once."""
    import torch_pruning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=torch.zeros(1, 3, size, size))


def _bundles(network: nn.Module, graph: Any, effects: Mapping[str, Tensor]) -> list[Bundle]:
    """Everything that can be cut, the head's outputs aside."""
    names = {layer: name for name, layer in network.named_modules()}
    found = []
    for group in graph.get_all_groups(ignored_layers=[head_layer(network)], root_module_types=[nn.Conv2d, nn.Linear]):
        size = len(group[0].idxs)
        repeats = max(_repeats(dep.target.module) for dep, _ in group)
        touched: dict[tuple[str, bool], float] = {}
        effect = torch.zeros(len(next(iter(effects.values()))), size)
        for item in group:
            if item.dep.target.module not in names:
                continue
            name, outputs = names[item.dep.target.module], bool(graph.is_out_channel_pruning_fn(item.dep.handler))
            touched[name, outputs] = touched.get((name, outputs), 0.0) + len(item.idxs) * repeats / size
            if not outputs and name in effects:
                effect.index_add_(1, torch.tensor(item.root_idxs), effects[name][:, item.idxs])
        cost = sum(_weights_with(network, *key) * channels for key, channels in touched.items())
        importance = effect.view(len(effect), repeats, -1).sum(1).square().mean(0) / cost**PRICE
        found.append(Bundle(layer=names[group[0].dep.target.module], importance=importance, repeats=repeats, touched=touched))
    return found


def _weights_with(network: nn.Module, name: str, outputs: bool) -> float:
    """The parameters of a layer that go with one of its outputs, or with one of its inputs."""
    layer = network.get_submodule(name)
    if outputs:
        return sum(p.numel() / len(p) for p in layer.parameters(recurse=False))
    return cast(Tensor, layer.weight).numel() / input_count(layer)


def _repeats(layer: nn.Module) -> int:
    """Groups of a convolution that is not depthwise."""
    return layer.groups if isinstance(layer, nn.Conv2d) and layer.groups != layer.out_channels else 1


def _choose(network: nn.Module, bundles: list[Bundle], keep: float) -> list[tuple[Bundle, Tensor]] | None:
    """Which choices each bundle loses; None where no cut leaves as little as `keep`.

    All bundles are cut below one rank among the choices of all; the lowest rank that leaves little enough is taken. Widths
    are as even as `ROUND_TO` asks, as long as that comes close.
    """
    allowed = keep * parameter_count(network)
    ranks = _ranks(bundles)
    best: tuple[float, list[int]] | None = None
    for unit in ROUND_TO:

        def widths(rank: int, unit: int = unit) -> list[int]:
            return [_width(bundle, int((own >= rank).sum()), unit) for bundle, own in zip(bundles, ranks, strict=True)]

        last = sum(len(own) for own in ranks)
        cut = bisect.bisect_left(range(last), True, key=lambda rank: _parameters(network, bundles, widths(rank)) <= allowed)
        found = widths(cut)
        left = _parameters(network, bundles, found)
        if left <= allowed and (best is None or left > best[0]):
            best = left, found
        if best and best[0] >= CLOSE * allowed:
            break
    if best is None:
        return None
    return [(bundle, own.argsort()[: len(own) - width]) for bundle, own, width in zip(bundles, ranks, best[1], strict=True)]


def _ranks(bundles: list[Bundle]) -> list[Tensor]:
    """The place of each choice among all of them, the least important first; equals in the order in which they come."""
    order = torch.cat([bundle.importance for bundle in bundles]).argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    return list(torch.split(ranks, [len(bundle.importance) for bundle in bundles]))


def _width(bundle: Bundle, above: int, round_to: int) -> int:
    """How many choices of a bundle stay: those `above` the cut, in steps of `round_to` channels, and never too few."""
    most, unit = len(bundle.importance), max(1, round_to // bundle.repeats)
    least = math.ceil(max(1.0, THINNEST * most) / unit) * unit
    return min(most, max(least, round(above / unit) * unit))


def _parameters(network: nn.Module, bundles: list[Bundle], counts: list[int]) -> float:
    """How many parameters stay with so many choices in each bundle."""
    lost: dict[tuple[str, bool], float] = {}
    for bundle, count in zip(bundles, counts, strict=True):
        for key, channels in bundle.touched.items():
            lost[key] = lost.get(key, 0.0) + channels * (len(bundle.importance) - count)
    total = 0.0
    for name, layer in network.named_modules():
        outputs, inputs = lost.get((name, True), 0.0), lost.get((name, False), 0.0)
        for key, parameter in layer.named_parameters(recurse=False):
            left = parameter.numel() * (1 - outputs / len(parameter))
            total += left * (1 - inputs / input_count(layer)) if key == "weight" and inputs else left
    return total


def input_count(layer: nn.Module) -> int:
    """Channels (features) that a convolution (Linear) reads."""
    return int(layer.in_channels if isinstance(layer, nn.Conv2d) else cast(nn.Linear, layer).in_features)


def _cut(network: nn.Module, graph: Any, chosen: list[tuple[Bundle, Tensor]]) -> list[Any]:
    """Cut, in place; what was cut, for `_kept`."""
    for bundle, lost in chosen:
        if not len(lost):
            continue
        layer = network.get_submodule(bundle.layer)
        step = len(bundle.importance)
        channels = sorted(int(i) + step * repeat for i in lost for repeat in range(bundle.repeats))
        graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, channels).prune()
    return list(graph.pruning_history())


def _kept(model: nn.Module, size: int, history: list[Any]) -> dict[str, Tensor]:
    """Which outputs each layer kept: the same cuts, made in a network whose weights are the numbers of their rows."""
    marked = copy.deepcopy(model).eval().requires_grad_(True)
    with torch.no_grad():
        for weight in output_weights(marked).values():
            weight.copy_(torch.arange(len(weight)).view(-1, *[1] * (weight.ndim - 1)).expand_as(weight))
    graph = _graph(marked, size)
    graph.load_pruning_history(history)
    return {name: weight.detach().flatten(1)[:, 0].long() for name, weight in output_weights(marked).items()}


def _checked(model: nn.Module, pruned: nn.Module, arch: str, size: int) -> nn.Module:
    """The pruned network as its checkpoint will give it back.

    Raises:
        InputError: it would not come back.
    """
    try:
        return narrow(copy.deepcopy(model), pruned.state_dict(), size)
    except InputError as error:
        raise _refusal(arch, str(error)) from error


def _refusal(arch: str, why: str) -> InputError:
    reason = " ".join(why.split())[:200]
    return InputError(
        f"expected a teacher that can be pruned, found {arch}: {reason}. Use --student same (the teacher itself), another --student "
        "by name, or a convolutional teacher (resnet18, squeezenet1_0, mobilenet_v3_large, efficientnet_b0, ...)"
    )
