"""Structured pruning: a network gives a narrower one that inherits its weights.

Whole channels go, the least important of all layers first; what depends on them (norms, next layers, the other side of a
sum) is narrowed along (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning"; the library torch-pruning). What is
left is an ordinary dense network, which every runtime makes use of.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.models.channel_groups import ChannelGroup, choose_cuts, input_count, parameter_count
from edgetl.models.heads import head_layer
from edgetl.models.narrow import narrow
from edgetl.models.published import TIMM

PRICE = 0.6  # exponent: channels that cost many parameters have to matter more (measured: better than 0.8 and 1)
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


def is_prunable(arch: str) -> bool:
    """Whether networks of this name can be pruned, as far as the name tells, torchvision's or timm's."""
    return not arch.removeprefix(TIMM).startswith(UNSUITED)


def check_prunable(arch: str) -> None:
    """Prove that networks of this name can be pruned, as far as the name tells.

    Raises:
        InputError: they cannot.
    """
    if not is_prunable(arch):
        raise _refusal(arch, "a layer inside of it regroups the channels")


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
        counts = choose_cuts(network, _bundles(network, graph, effects), keep)
        history = _cut(network, graph, counts) if counts else None
        kept = _kept(model, image_size, history) if history else {}
    except Exception as error:  # whatever the library says to a network that it does not understand
        raise _refusal(arch, f"{type(error).__name__}: {error}") from error
    if not kept:
        raise _refusal(arch, f"its layers are too narrow to leave {keep:.0%} of its parameters")
    pruned = _checked(model, network, arch, image_size)
    return Pruned(model=pruned, share=parameter_count(pruned) / parameter_count(model), kept=kept)


def output_weights(model: nn.Module) -> dict[str, Tensor]:
    """Layer -> its weight [outputs, ...], of every convolution and Linear."""
    return {name: layer.weight for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def _graph(network: nn.Module, size: int) -> Any:
    """The dependency graph of torch-pruning, found by running the network once."""
    import torch_pruning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=torch.zeros(1, 3, size, size))


def _bundles(network: nn.Module, graph: Any, effects: Mapping[str, Tensor]) -> list[ChannelGroup]:
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
        found.append(ChannelGroup(layer=names[group[0].dep.target.module], importance=importance, repeats=repeats, touched=touched))
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


def _cut(network: nn.Module, graph: Any, chosen: list[tuple[ChannelGroup, Tensor]]) -> list[Any]:
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
