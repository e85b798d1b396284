"""The student that inherits: the teacher, pruned, its layers fitted again to what they gave before."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say, track
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet, to_input
from edgetl.models.build import build
from edgetl.models.channel_groups import input_count, parameter_count
from edgetl.models.efficientnet_lite import EfficientNetLite
from edgetl.models.finite import refuse_mute
from edgetl.models.prune import Pruned, output_weights, prune
from edgetl.models.refit import refit
from edgetl.models.streams import backward_with_signs, turned
from edgetl.training.device import on_device

IMAGES, BATCH_IMAGES = 96, 8
PRUNING_STEPS = 3  # each looks anew at what matters
EPOCH = 2**31  # keys the views: no epoch of training has this number


def inherit(
    teacher: nn.Module,
    arch: str,
    keep: float,
    *,
    train: PixelSet,
    augment: Augment,
    sees: Preprocess,
    seed: int,
    device: torch.device,
    shares: Tensor | None = None,
) -> Pruned:
    """A network with the share `keep` of the teacher's parameters that answers as nearly as it can without training.

    Random views of some training images say which channels matter, and what each layer has to give.

    Args:
        teacher: in evaluation mode; left as it is.
        arch: its name, for people.
        keep: share of the parameters, in (0, 1).
        train: training images; their labels are not used.
        augment: makes views of them.
        sees: how the student's input is prepared.
        seed: of the choice of images and views.
        device: where to compute.
        shares: how often each image is drawn, relative to the others, [n], so that rare classes have their say; None: all alike.

    Raises:
        InputError: a network that cannot be pruned, or whose answers are not finite.
    """
    x, whole = examples(train, augment, sees, seed, shares).to(device), parameter_count(teacher)
    on_device(teacher, device)
    with torch.no_grad():
        refuse_mute(teacher(x), "the network that is pruned")
    teacher = turned(teacher, x, seed) if isinstance(teacher, EfficientNetLite) else teacher
    model, kept = teacher, {name: torch.arange(len(w)) for name, w in output_weights(teacher).items()}
    with track("prune", PRUNING_STEPS, "step") as bar:
        for step in range(1, PRUNING_STEPS + 1):
            wanted = keep ** (step / PRUNING_STEPS) * whole / parameter_count(model)
            if wanted < 1:
                pruned = narrower(model, arch, sees.side, wanted, x, seed)
                model, kept = pruned.model, {name: kept[name][chosen] for name, chosen in pruned.kept.items()}
                refit(on_device(model, device), on_device(teacher, device), kept, x)
            bar.advance()
    share = parameter_count(model) / whole
    say(f"distill: pruned {arch} to {parameter_count(model):,} of its {whole:,} parameters ({share:.0%})")
    return Pruned(model=model, share=share, kept=kept)


def rehearse(arch: str, classes: int, image_size: int, keep: float) -> float:
    """The share of its parameters that pruning leaves of a network with random weights, all channels mattering alike: in seconds.

    What can be cut depends on the layers' widths, not on their weights: what is refused here would be refused after the training too.

    Raises:
        InputError: a network that cannot be pruned, or not that far.
    """
    with torch.random.fork_rng(devices=[]):
        model = build(arch, classes, image_size).eval()
    return parameter_count(narrowed_alike(model, arch, image_size, keep)) / parameter_count(model)


def narrowed_alike(model: nn.Module, arch: str, image_size: int, keep: float) -> nn.Module:
    """The network with the share `keep` of its parameters, cut in as many steps as a student, all channels mattering alike.

    Raises:
        InputError: a network that cannot be pruned, or not that far.
    """
    whole = parameter_count(model)
    with track(f"try pruning {arch}", PRUNING_STEPS, "step") as bar:
        for step in range(1, PRUNING_STEPS + 1):
            wanted = keep ** (step / PRUNING_STEPS) * whole / parameter_count(model)
            if wanted < 1:
                alike = {name: torch.ones(1, input_count(model.get_submodule(name))) for name in output_weights(model)}
                model = prune(model, arch, image_size, wanted, alike).model
            bar.advance()
    return model


def narrower(model: nn.Module, arch: str, size: int, keep: float, x: Tensor, seed: int) -> Pruned:
    """One step: what matters is asked of the device that holds `x`, what is cut is decided on the CPU."""
    found = effects(model, x, seed)
    return prune(model.cpu(), arch, size, keep, found)


def examples(train: PixelSet, augment: Augment, sees: Preprocess, seed: int, shares: Tensor | None = None) -> Tensor:
    """One random view of each of at most `IMAGES` images: normalized float [n, 3, s, s]."""
    random = np.random.Generator(np.random.Philox(key=[seed, EPOCH]))
    if shares is None:
        chosen = random.permutation(len(train))[:IMAGES]
    else:
        p = shares.numpy().astype(np.float64)
        chosen = random.choice(len(train), size=min(IMAGES, len(train)), replace=False, p=p / p.sum())
    views = augment(train.pixels[torch.from_numpy(chosen)], augment.draws(seed, EPOCH, len(train))[chosen])
    if views.shape[-1] != sees.side:
        views = nn.functional.interpolate(views, size=(sees.side, sees.side), mode="bilinear", antialias=True, align_corners=False)
    return to_input(views, sees)


def effects(model: nn.Module, x: Tensor, seed: int) -> dict[str, Tensor]:
    """Convolution or Linear -> derivative of the outputs by a factor on each input channel, for each example [n, inputs], on the CPU.

    The outputs of an example are summed with random signs, so that on average their derivatives do not cancel: the mean square is an
    estimate of the Gauss-Newton matrix's diagonal (Hutchinson 1990). Gradients of the loss would be next to nothing, since the network was
    trained on these very images until they were.
    """
    model, generator = copy.deepcopy(model).requires_grad_(False), torch.Generator().manual_seed(seed)
    layers = {name: model.get_submodule(name) for name in output_weights(model)}
    found = {name: torch.zeros(len(x), input_count(layer)) for name, layer in layers.items()}
    start = 0

    def gate(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        def add(product: Tensor) -> None:
            channels = product if isinstance(layer, nn.Linear) else product.movedim(1, -1)
            found[name][start : start + len(product)] += channels.reshape(len(product), -1, input_count(layer)).sum(1).cpu()

        return (_Gate.apply(inputs[0], add),)

    hooks = [layer.register_forward_pre_hook(functools.partial(gate, name)) for name, layer in layers.items()]
    for start in range(0, len(x), BATCH_IMAGES):
        backward_with_signs(model(x[start : start + BATCH_IMAGES].clone().requires_grad_(True)), generator)
    for hook in hooks:
        hook.remove()
    return found


class _Gate(torch.autograd.Function):
    """The identity; on the way back, `add` is told input times gradient.

    A hook on the tensor would do the same, but it would never be freed: it has its node, that has the hook, and the hook has the tensor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.add = add
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        ctx.add(x.detach() * gradient)
        return gradient, None
