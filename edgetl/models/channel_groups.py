"""Channels that can only be cut together, and which of them go."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

ROUND_TO = (8, 4, 2, 1)  # channels: int8 kernels like eights; narrow networks need finer steps to come close
CLOSE = 0.97  # of the share that was asked for: nearer with eights than that, and finer steps are not tried
THINNEST = 0.15  # of a layer's channels are kept at least


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
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


def parameter_count(model: nn.Module) -> int:
    """How many trained numbers there are."""
    return sum(p.numel() for p in model.parameters())


def choose_cuts(network: nn.Module, bundles: list[ChannelGroup], keep: float) -> list[tuple[ChannelGroup, Tensor]] | None:
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


def _ranks(bundles: list[ChannelGroup]) -> list[Tensor]:
    """The place of each choice among all of them, the least important first; equals in the order in which they come."""
    order = torch.cat([bundle.importance for bundle in bundles]).argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    return list(torch.split(ranks, [len(bundle.importance) for bundle in bundles]))


def _width(bundle: ChannelGroup, above: int, round_to: int) -> int:
    """How many choices of a bundle stay: those `above` the cut, in steps of `round_to` channels, and never too few."""
    most, unit = len(bundle.importance), max(1, round_to // bundle.repeats)
    least = math.ceil(max(1.0, THINNEST * most) / unit) * unit
    return min(most, max(least, round(above / unit) * unit))


def _parameters(network: nn.Module, bundles: list[ChannelGroup], counts: list[int]) -> float:
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
