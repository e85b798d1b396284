"""Pretrained weights: sources, metadata, and loading into a network.

Files are read without running code: safetensors, or `torch.load(weights_only=True)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import UNNAMED, SeenImages
from edgetl.models.build import OWN_NAMES
from edgetl.models.checkpoint import KEY, read_checkpoint
from edgetl.models.download import Unreachable, fetch_published
from edgetl.models.embedded import ASSETS, embedded_weights
from edgetl.models.history import IMAGENET, trained_before
from edgetl.models.packaged import Packaged, imagenet_classes, packaged, packaged_file, packaged_preprocess
from edgetl.models.published import published_preprocess, published_weights
from edgetl.models.state import classes_in, read_content, read_description

FROM_FILE = "file:"  # the source of a user's own file


@dataclass(frozen=True, kw_only=True)
class Weights:
    """An artifact: a file of weights and its metadata.

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
        """The training images of these weights, as far as they are recorded, and the names of all data sets."""
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
    known = None if arch in OWN_NAMES else published_weights(arch)
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
    return _described(path, arch, f"{FROM_FILE}{path.name}")


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
