"""export: the graphs and a few images give the bundle that an app embeds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from edgetl.bundle.write import write_bundle
from edgetl.core.artifacts import BundleFolder, FloatModel, Form, Int8Model
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.images import Images
from edgetl.data.survey import with_depth
from edgetl.runtime.onnx_metadata import ModelInfo, read_info
from edgetl.settings import ExportSettings


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The bundle."""

    bundle: BundleFolder


@dataclass(frozen=True, kw_only=True)
class Export(Stage[Exported]):
    """Write the bundle: graphs, labels, manifest, golden vectors, sample code. Same inputs, same bytes."""

    name: ClassVar[str] = "export"
    version: ClassVar[int] = 2
    int8: Int8Model | None
    float_model: FloatModel
    shipped: Form
    target: str
    golden: Images
    seen: SeenImages
    provenance: Mapping[str, str]
    classes: tuple[str, ...] | None = None  # for a graph that does not name them
    preprocess: Preprocess | None = None  # for a graph that does not say it
    settings: ExportSettings = ExportSettings()

    def run(self, out: Path) -> Exported:
        """Write `bundle/`.

        Raises:
            InputError: a graph without class names or Preprocess.
        """
        folder = out / "bundle"
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
        known = read_info(self.float_model.path)
        preprocess = known.preprocess or self.preprocess
        info = ModelInfo(
            classes=known.classes or self.classes,
            preprocess=preprocess and with_depth(self.golden, preprocess),
            task=known.task,
            seen=self.seen,
            extra=known.extra,
        )
        shipped = self.int8.path if self.int8 and self.shipped != "float" else self.float_model.path
        with track("export", 1, "bundle") as bar:
            bundle = write_bundle(
                folder,
                shipped=shipped,
                float_model=self.float_model.path,
                form=self.shipped,
                info=info,
                golden=[(self.golden.read(i), suffix_of(ref.where)) for i, ref in enumerate(self.golden.refs)],
                target=self.target,
                provenance=self.provenance,
            )
            bar.advance()
        return Exported(bundle=BundleFolder(path=folder, sha256=bundle.sha256))


def suffix_of(where: str) -> str:
    """The suffix of an image's place; embedded images have none and are portable graymaps."""
    return PurePosixPath(where).suffix.lower() or ".pgm"
