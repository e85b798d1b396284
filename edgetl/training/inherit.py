"""The student that inherits: the teacher, pruned, its layers fitted again to what they gave before."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say, track
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet, to_input
from edgetl.models.efficientnet_lite import EfficientNetLite
from edgetl.models.finite import refuse_mute
from edgetl.models.narrow import pruned_name
from edgetl.models.prune import Pruned, output_weights, parameter_count, prune
from edgetl.models.refit import refit
from edgetl.models.streams import turned
from edgetl.training.device import placed

IMAGES = 96
STEPS = 3  # each looks anew at what matters
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
    placed(teacher, device)
    with torch.no_grad():
        refuse_mute(teacher(x), "the network that is pruned")
    teacher = turned(teacher, x, seed) if isinstance(teacher, EfficientNetLite) else teacher
    model, kept = teacher, {name: torch.arange(len(w)) for name, w in output_weights(teacher).items()}
    with track("prune", STEPS, "step") as bar:
        for step in range(1, STEPS + 1):
            wanted = keep ** (step / STEPS) * whole / parameter_count(model)
            if wanted < 1:
                pruned = narrower(model, arch, sees.side, wanted, x, seed)
                model, kept = pruned.model, {name: kept[name][chosen] for name, chosen in pruned.kept.items()}
                refit(placed(model, device), placed(teacher, device), kept, x)
            bar.advance()
    share = parameter_count(model) / whole
    say(f"distill: {pruned_name(arch, share)}: {parameter_count(model):,} of {whole:,} parameters")
    return Pruned(model=model, share=share, kept=kept)


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
    trained on these very images until they were. The model's own gradients are empty after.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = {name: model.get_submodule(name) for name in output_weights(model)}
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    for example in torch.split(x, 1):
        model.zero_grad()
        outputs = model(example)
        signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1
        (outputs * signs.to(outputs.device)).sum().backward()
        for name, layer in layers.items():
            rows[name].append(_by_input(layer))
    model.zero_grad()
    return {name: torch.stack(found).cpu() for name, found in rows.items()}


def _by_input(layer: nn.Module) -> Tensor:
    """Weights times their gradients, summed for each input channel, [inputs]: what a factor on that channel would do."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = layer.weight.detach()
    product = torch.zeros_like(weight) if layer.weight.grad is None else weight * layer.weight.grad
    return product.view(groups, len(weight) // groups, weight.shape[1], -1).sum((1, 3)).flatten()
