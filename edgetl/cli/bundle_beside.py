"""The bundle that a model to export is a file of: its decision rule, golden images and provenance go into the next bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.golden import FLOAT_MODEL, FOLDER, read_golden
from edgetl.bundle.image_graph import MODEL
from edgetl.bundle.manifest import Manifest
from edgetl.bundle.read import MANIFEST, is_bundle
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.data.files import FileSource
from edgetl.data.images import ImageRef, Images
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings, ExportSettings

DIGITS = "digits"
NO_GOLDEN = "the golden images are handwritten digits (--golden IMAGES takes others)"


@dataclass(frozen=True, kw_only=True)
class BundleBeside:
    """A bundle, and which of its files a model is.

    Attributes:
        names: of the files in the bundle that have the model's bytes.
    """

    folder: Path
    manifest: Manifest
    names: frozenset[str]

    @property
    def ships(self) -> bool:
        """Whether the model is the one that ships, which the decision rule was fitted to."""
        return MODEL in self.names

    @property
    def provenance(self) -> dict[str, str]:
        """Where data and weights come from."""
        said = self.manifest.provenance
        return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in said.items()}

    def intact(self, *names: str) -> bool:
        """Whether these files are as they were written."""
        files = self.manifest.files
        return all((self.folder / name).is_file() and file_sha256(self.folder / name) == files.get(name) for name in names)

    def golden(self) -> Images | None:
        """The golden images in their order; None where they are not as they were written."""
        try:
            names = [f"{FOLDER}/{image.image}" for image in read_golden(self.folder).images]
        except InputError:
            return None
        if not self.intact(*names):
            return None
        refs = tuple(ImageRef(sha256=self.manifest.files[name], label=0, part="val", where=name) for name in names)
        return Images(name="its bundle", classes=(FOLDER,), refs=refs, source=FileSource(root=self.folder))


def bundle_beside(model: Path) -> BundleBeside | None:
    """The bundle in the model's folder, where its manifest names these very bytes."""
    folder = model.parent
    if not is_bundle(folder):
        return None
    try:
        manifest = Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except InputError:
        return None
    given = file_sha256(model)
    names = frozenset(name for name, sha in manifest.files.items() if sha == given)
    return BundleBeside(folder=folder, manifest=manifest, names=names) if names else None


def exported_of_bundle(model: Path) -> BundleBeside | None:
    """The bundle whose model.onnx or model.float.onnx the model is."""
    found = bundle_beside(model)
    return found if found and found.names & {MODEL, FLOAT_MODEL} else None


def golden_and_rule(
    bundle: BundleBeside | None,
    golden: Images | None,
    settings: ExportSettings,
    evaluation: str | None,
    name: str,
    trained_on: Sequence[str],
) -> tuple[Images, DecisionRule | None]:
    """The golden images, those that were given or else the bundle's, and the bundle's decision rule, unless one is fitted anew.

    Says what comes from the bundle, and what is missing, with the option that gives it.

    Args:
        bundle: that the model is a file of.
        golden: images that were given.
        settings: of export.
        evaluation: labelled images that a rule is fitted on.
        name: of the model's file.
        trained_on: data sets behind the model.
    """
    own = bundle.golden() if bundle and golden is None else None
    rule = bundle.manifest.decision if bundle and bundle.ships and evaluation is None else None
    if bundle:
        kept = [*(["golden images"] if own else []), *(["temperature and threshold"] if rule else []), "provenance and licences"]
        say(f"export: {name}: {', '.join(kept)} are those of its bundle")
    digits = golden is None and own is None and DIGITS not in trained_on
    if missing := [*([] if evaluation else _missing(rule, settings)), *([NO_GOLDEN] if digits else [])]:
        say(f"export: {name}: {'; '.join(missing)}")
    return (_of_bundle(own, settings.golden_images) if own else _taken(golden, settings.golden_images)), rule


def _missing(rule: DecisionRule | None, settings: ExportSettings) -> list[str]:
    """What of a decision rule a bundle will lack, and the option that gives it."""
    if rule is None:
        return ["no temperature and no threshold (--eval LABELLED_IMAGES fits them)"]
    if settings.min_precision in (rule.wanted_precision, ExportSettings().min_precision):
        return []
    return [f"the threshold is that for a precision of {rule.wanted_precision} (--eval LABELLED_IMAGES sets another)"]


def _of_bundle(images: Images, count: int) -> Images:
    """All golden images of a bundle, or the first of them where another number than the default is asked for."""
    if count == ExportSettings().golden_images:
        return images
    _tell_fewer(images, count)
    return Images(name=images.name, classes=images.classes, refs=images.refs[:count], source=images.source)


def _taken(images: Images | None, count: int) -> Images:
    """So many of the images, or of the digits where none are given."""
    found = images if images is not None else open_images(None, DataSettings()).only("val")
    _tell_fewer(found, count)
    return found.take(count, 0)


def _tell_fewer(images: Images, count: int) -> None:
    if len(images) < count:
        say(f"export: {len(images)} images for the golden vectors in {images.name}, {count} were asked for")
