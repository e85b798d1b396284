"""Pretrained weights: where they come from, what is known about them, how they get into a network.

Files are read without running code: safetensors, or `torch.load(weights_only=True)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError, listing
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.models.build import OWN_NAMES
from edgetl.models.checkpoint import KEY, read_checkpoint
from edgetl.models.download import Unreachable, fetch_published
from edgetl.models.efficientnet_lite import EfficientNetLite
from edgetl.models.embedded import ASSETS, embedded_weights
from edgetl.models.finite import refuse_not_finite
from edgetl.models.heads import head_keys
from edgetl.models.history import IMAGENET, UNNAMED, trained_before
from edgetl.models.packaged import Packaged, by_own_names, imagenet_classes, packaged, packaged_file, packaged_preprocess
from edgetl.models.published import published_preprocess, published_weights
from edgetl.models.state import classes_in, load_state, plain_tensors, read_content, read_description
from edgetl.models.unwrap import unwrap

LEAST_MATCH = 0.8  # share of tensors: below it, a file belongs to another network. ResNet-18's in ResNet-34: 0.56
FILE = "file:"  # the source of a user's own file


@dataclass(frozen=True, kw_only=True)
class Weights:
    """An artifact: a file of weights and what is known about it.

    Attributes:
        source: "embedded:NAME", "package:NAME", "published:NAME" or "file:NAME".
        path: the file.
        sha256: of the file.
        preprocess: what the weights were trained with; None if unknown.
        trained_on: name of the data set ("cifar10", "imagenet1k") that they were trained on last; None if unknown.
        classes: class names of the head's outputs; None if unknown.
        seen: the images they were trained and selected on, where the file keeps a record.
    """

    source: str
    path: Path
    sha256: str
    preprocess: Preprocess | None
    trained_on: str | None
    classes: tuple[str, ...] | None = None
    seen: SeenImages | None = None

    @property
    def digest(self) -> str:
        """sha256 of the file."""
        return self.sha256

    @property
    def record(self) -> SeenImages:
        """What a network that starts from them has seen: images as far as they are on record, and the names of all data sets."""
        seen = self.seen or SeenImages(split="", parts={})
        if self.trained_on in seen.trained_on:
            return seen
        if self.trained_on and seen.kept:  # an older record, of images without the name of their data set
            return replace(seen, trained_on=(*seen.trained_on, self.trained_on))
        if self.trained_on is None and seen.kept:
            return seen
        return seen.knowing(self.trained_on or f"{UNNAMED} of {self.source.rpartition(':')[2]}")


def resolve_weights(arch: str, choice: str, cache: Path, *, assets: Path = ASSETS) -> tuple[Weights | None, str]:
    """The weights that `arch` starts from and what they are in words; or None and the reason. `choice` is "auto", "none" or a file.

    "auto" takes what edgetl embeds, else what pip brought, else what torchvision publishes, downloaded into the folder `cache` (checked
    by the hash in its name; a copy in torch's own cache is used where there is one). None where there are none, or none in reach.
    `assets` is where the embedded ones lie.

    Raises:
        InputError: the file is not there or holds no weights; a package whose file is damaged.
    """
    match choice:
        case "none":
            return None, "as requested"
        case "auto":
            return _automatic(arch, cache, assets)
        case _:
            found = _from_file(arch, Path(choice))
            return found, f"weights from {found.path.name} (sha256 {found.sha256[:12]})"


def _automatic(arch: str, cache: Path, assets: Path) -> tuple[Weights | None, str]:
    embedded = embedded_weights(arch, assets)
    if embedded:
        found = _described(embedded, arch, f"embedded:{embedded.stem.removesuffix('_fp16')}")
        return found, f"weights that come with edgetl, pretrained on {found.trained_on or 'unnamed data'}"
    if package := packaged(arch):
        return _packaged(arch, package)
    known = published_weights(arch)
    if known is None:
        return None, f"edgetl {'has' if arch in OWN_NAMES else 'downloads'} no weights for {arch}"
    try:
        path = fetch_published(known.url, cache)
    except Unreachable as reason:
        return None, f"its published weights are not available: {reason}"
    found = Weights(
        source=f"published:{known.name}",
        path=path,
        sha256=file_sha256(path),
        preprocess=published_preprocess(arch),
        trained_on=IMAGENET,
        classes=tuple(known.meta["categories"]),
    )
    return found, f"torchvision's weights {known.name}"


def _packaged(arch: str, known: Packaged) -> tuple[Weights | None, str]:
    try:
        path = packaged_file(known)
    except Unreachable as reason:
        return None, f"its ImageNet weights are not available: {reason}"
    found = Weights(
        source=f"package:{known.package}",
        path=path,
        sha256=known.sha256,
        preprocess=packaged_preprocess(known),
        trained_on=IMAGENET,
        classes=imagenet_classes(),
    )
    return found, f"ImageNet weights from the package {known.package}"


def _from_file(arch: str, path: Path) -> Weights:
    if not path.is_file():
        raise InputError(
            f"expected auto, none or a file of weights (.safetensors, .pth), found {'a folder' if path.is_dir() else 'nothing'} at {path}"
        )
    read_content(path)  # refuses now what cannot be read, before any image is looked at
    return _described(path, arch, f"{FILE}{path.name}")


def _described(path: Path, arch: str, source: str) -> Weights:
    """A file of weights, described by its metadata and, where that is silent, by what is published for the architecture."""
    said = read_description(path)
    if KEY in said:
        info = read_checkpoint(path)
        before = trained_before(info)
        return Weights(
            source=source,
            path=path,
            sha256=file_sha256(path),
            preprocess=info.preprocess,
            trained_on=info.provenance.get("data"),
            classes=info.classes,
            seen=info.seen.knowing(before) if before and before not in info.seen.trained_on else info.seen,
        )
    preprocess = Preprocess.from_json(said["preprocess"]) if "preprocess" in said else published_preprocess(arch)
    return Weights(
        source=source,
        path=path,
        sha256=file_sha256(path),
        preprocess=preprocess,
        trained_on=said.get("trained_on") or None,
        classes=classes_in(said, path.name),
        seen=SeenImages.from_json(said["seen"]) if "seen" in said else None,
    )


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """What of a file went into a network, by the names of tensors.

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
    refuse_not_finite({name: value for name, value in given.items() if name in own}, weights.path.name)
    load_state(model, fits, strict=False)
    return report


def _read(weights: Weights, own: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The file's tensors by the network's names; what was taken off or converted is said."""
    file, content = weights.path.name, read_content(weights.path)
    tensors, said = unwrap(by_own_names(model, content) if isinstance(model, EfficientNetLite) else content, own, file)
    halves = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values() if value.is_floating_point()} - {"float32"})
    notes = [*filter(None, [said]), *(f"{kind} made float32" for kind in halves if weights.source.startswith(FILE))]
    if notes:
        say(f"weights: {file}: {'; '.join(notes)}")
    return plain_tensors(tensors, file)


def _fitted(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a position embedding of the model's image size."""
    state = dict(given)
    embedding = state.get("encoder.pos_embedding")
    if isinstance(model, VisionTransformer) and embedding is not None and embedding.ndim == 3:
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
    whose = f"those of {said}: " if said else ""
    hint = ", or take what fits with --partial-weights" if fitting and not partial else ""
    raise InputError(
        f"expected weights of the same architecture in {weights.path.name}, found {whose}"
        f"{fitting} of the network's {len(body)} tensors fit (head aside), "
        f"and {len(report.unused)} of the file's {in_file} have no place in it. "
        f"Choose the architecture that the file was made for{hint}:\n{listing(problems, 6)}"
    )
