"""A pruned network from its weights: the architecture is built as usual, then each layer takes the widths that the tensors have.

So a checkpoint of a pruned network is like any other, one set of named tensors: no structure has to be stored beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgetl.core.errors import InputError, listing
from edgetl.models.state import load_state

TensorShape = tuple[int, ...]
KERNEL_DIMS = 2  # a convolution's last dimensions are its kernel's, which pruning leaves as they are


def pruned_name(arch: str, keep: float) -> str:
    """`squeezenet1_0`, 0.4 -> `squeezenet1_0 pruned to 40%`."""
    return f"{arch} pruned to {keep:.0%}"


def narrow(model: nn.Module, state: Mapping[str, Tensor], image_size: int) -> nn.Module:
    """`model` itself, its layers made as narrow as the tensors of `state`, which are then loaded; in evaluation mode.

    Raises:
        InputError: tensors that no pruning of this network leaves: missing or unknown ones, wider ones, other kernels, or
            widths with which the network does not run on [1, 3, image_size, image_size].
    """
    outputs = _outputs(model, image_size)
    problems = [*_strangers(model, state), *(line for name, layer in model.named_modules() for line in _problems(name, layer, state))]
    if problems:
        raise InputError(f"expected the tensors of a pruned {type(model).__name__}, found others:\n{listing(problems, 8)}")
    for name, layer in model.named_modules():
        _resize(layer, _shapes(name, layer, state))
    try:
        load_state(model, state)
        if _outputs(model, image_size) == outputs:
            return model.eval()
        problem = "another number of outputs"
    except RuntimeError as error:  # what torch says to shapes that do not go together
        problem = str(error).strip().splitlines()[0]
    raise InputError(
        f"expected the tensors of a pruned {type(model).__name__}, found numbers of channels that do not fit each other: {problem}"
    )


@torch.no_grad()
def _outputs(model: nn.Module, image_size: int) -> TensorShape:
    return tuple(model.eval()(torch.zeros(1, 3, image_size, image_size)).shape)


def _own(layer: nn.Module) -> dict[str, Tensor]:
    """The tensors of the layer itself that a state dict holds, children's left out."""
    named = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    return {key: value for key, value in named if key not in layer._non_persistent_buffers_set}


def _shapes(name: str, layer: nn.Module, state: Mapping[str, Tensor]) -> dict[str, TensorShape]:
    """The layer's own tensors by name, with the shapes they have in `state`."""
    prefix = f"{name}." if name else ""
    return {key: tuple(state[prefix + key].shape) for key in _own(layer) if prefix + key in state}


def _strangers(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    own = model.state_dict().keys()
    return [
        *(f"{name}: missing" for name in sorted(own - state.keys())),
        *(f"{name}: unknown" for name in sorted(state.keys() - own)),
    ]


def _problems(name: str, layer: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """The differences of the layer that pruning cannot have made."""
    own, problems = _own(layer), []
    for key, shape in _shapes(name, layer, state).items():
        before = tuple(own[key].shape)
        kernel = isinstance(layer, nn.Conv2d) and key == "weight"
        fits = len(shape) == len(before) and all(0 < now <= was for now, was in zip(shape, before, strict=True))
        if not fits or (kernel and shape[-KERNEL_DIMS:] != before[-KERNEL_DIMS:]):
            problems.append(f"{name}.{key}: expected at most {before}, found {shape}")
    return problems


def _resize(layer: nn.Module, shapes: Mapping[str, TensorShape]) -> None:
    """New tensors where a shape changed, and what the layer says about its widths, in place."""
    for key, value in _own(layer).items():
        if tuple(value.shape) == shapes[key]:
            continue
        fresh = torch.empty(shapes[key], dtype=value.dtype)
        setattr(layer, key, nn.Parameter(fresh) if isinstance(value, nn.Parameter) else fresh)
    match layer:
        case nn.Conv2d():
            outputs, inputs = shapes["weight"][:2]
            layer.groups = outputs if layer.groups == layer.in_channels == layer.out_channels else layer.groups
            layer.out_channels, layer.in_channels = outputs, inputs * layer.groups
        case nn.Linear():
            layer.out_features, layer.in_features = shapes["weight"]
        case nn.BatchNorm2d() if "weight" in shapes:
            layer.num_features = shapes["weight"][0]
        case nn.LayerNorm() if "weight" in shapes:
            layer.normalized_shape = shapes["weight"]
