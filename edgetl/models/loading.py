"""Loading of weights into a network; tensors that do not fit are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import say
from edgetl.models.efficientnet_lite import EfficientNetLite
from edgetl.models.finite import refuse_not_finite_tensors
from edgetl.models.heads import head_keys
from edgetl.models.packaged import by_own_names
from edgetl.models.state import load_state, plain_tensors, read_content, read_description
from edgetl.models.unwrap import unwrap
from edgetl.models.weights import FROM_FILE, Weights

LEAST_MATCH = 0.8  # share of tensors: below it, a file belongs to another network. ResNet-18's in ResNet-34: 0.56


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """Which tensors of a file were loaded into a network, by name.

    Attributes:
        matched: loaded.
        head: tensors of the last layer that were left as they are, since the file has none or its answers mean other classes.
        missing: in the network, not in the file.
        mismatched: in both, with other shapes.
        unused: in the file, not in the network.
    """

    source: str
    matched: tuple[str, ...]
    head: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def line(self) -> str:
        """One line for people."""
        wanted = len(self.matched) + len(self.head) + len(self.missing) + len(self.mismatched)
        some = f" of {wanted}" if self.missing or self.mismatched else ""
        parts = [f"loaded {len(self.matched)}{some} pretrained tensors from {self.source}"]
        if self.head:
            parts.append("the head is new")
        for names, what in ((self.missing, "missing"), (self.mismatched, "of another shape"), (self.unused, "unused")):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def load_into(model: nn.Module, weights: Weights, classes: tuple[str, ...] | None = None, *, partial: bool = False) -> MatchReport:
    """Put weights into `model`, in place, and say what fitted.

    `partial` takes whatever fits by name and shape, also from another network (a ResNet-50's stem in a ResNet-18).

    The head is taken only if it is as wide as the model's and its classes are `classes`, or are not known to differ.
    A vision transformer's position embedding is interpolated to another image size.

    Raises:
        InputError: no weights in the file, weights of another network (with how much of them fitted), or NaN or infinity in them.
    """
    own = {name: value for name, value in model.state_dict().items() if not _counts_batches(name)}
    given = _fitted(model, _read(weights, own, model))
    head = head_keys(model)
    same_classes = weights.classes is None or weights.classes == classes
    keep = {name for name in head if name in given and (not same_classes or given[name].shape != own[name].shape)}
    keep |= set() if head & given.keys() else head
    fits = {name: value for name, value in given.items() if name in own and name not in keep and value.shape == own[name].shape}
    report = MatchReport(
        source=weights.source,
        matched=tuple(sorted(fits)),
        head=tuple(sorted(keep)),
        missing=tuple(sorted(own.keys() - given.keys() - keep)),
        mismatched=tuple(sorted(own.keys() & given.keys() - fits.keys() - keep)),
        unused=tuple(sorted(name for name in given.keys() - own.keys() if not _counts_batches(name))),
    )
    in_file = sum(not _counts_batches(name) for name in given)
    _refuse_strangers(report, own.keys() - head, in_file, weights, partial)
    refuse_not_finite_tensors({name: value for name, value in given.items() if name in own}, weights.path.name)
    load_state(model, fits, strict=False)
    return report


def _read(weights: Weights, own: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The file's tensors by the network's names; removed prefixes and conversions are reported."""
    file, content = weights.path.name, read_content(weights.path)
    tensors, said = unwrap(by_own_names(model, content) if isinstance(model, EfficientNetLite) else content, own, file)
    halves = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values() if value.is_floating_point()} - {"float32"})
    notes = [*filter(None, [said]), *(f"{kind} made float32" for kind in halves if weights.source.startswith(FROM_FILE))]
    if notes:
        say(f"weights: {file}: {'; '.join(notes)}")
    return plain_tensors(tensors, file)


def _fitted(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a position embedding of the model's image size."""
    state = dict(given)
    embedding = state.get("encoder.pos_embedding")
    if embedding is None or embedding.ndim != 3:
        return state
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings  # see published.py

    if isinstance(model, VisionTransformer):
        state = dict(interpolate_embeddings(model.image_size, model.patch_size, state))
    return state


def _counts_batches(name: str) -> bool:
    """BatchNorm's count of batches: no weight, and left out of many files."""
    return name.endswith("num_batches_tracked")


def _refuse_strangers(report: MatchReport, body: set[str], in_file: int, weights: Weights, partial: bool) -> None:
    """Raise InputError unless most of the network, its head aside, and of the file's tensors belong together (`partial`: any of it)."""
    fitting = len(body & set(report.matched))
    if partial and fitting:
        return
    if fitting >= LEAST_MATCH * len(body) and len(report.unused) <= (1 - LEAST_MATCH) * in_file:
        return
    problems = [
        *(f"{name}: another shape" for name in report.mismatched),
        *(f"{name}: not in the file" for name in report.missing),
        *(f"{name}: not in the network" for name in report.unused),
    ]
    said = read_description(weights.path).get("arch")
    whose = f"weights of {said}" if said else "others"
    hint = ", or load the tensors that fit with --partial-weights" if fitting and not partial else ""
    raise InputError(
        f"expected weights of the same architecture in {weights.path.name}, found {whose}: "
        f"{fitting} of the network's {len(body)} tensors (without the head) are in the file with the right shape, "
        f"and {len(report.unused)} of the file's {in_file} tensors are not in the network. "
        f"Choose the architecture that the file was made for{hint}:\n{listing(problems, 6)}"
    )
