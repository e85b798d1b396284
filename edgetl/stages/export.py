"""export: the graphs and a few images give the bundle that an app embeds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from edgetl.bundle.decision import DecisionRule, fit_decision
from edgetl.bundle.shown_mistakes import showing_mistakes
from edgetl.bundle.write import write_bundle
from edgetl.core.artifacts import BundleFolder, FloatModel, Form, Int8Model
from edgetl.core.canonical import ADDED
from edgetl.core.errors import InputError
from edgetl.core.misfit import refuse_misfit
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import track
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.apart import refuse_calibrated, refuse_trained
from edgetl.data.images import Images
from edgetl.data.survey import with_depth
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.metrics.clusters import group_numbers
from edgetl.quantization.candidates.unsaturated import judged_outputs
from edgetl.runtime.onnx_metadata import ModelInfo, read_info
from edgetl.runtime.outputs import NotFinite
from edgetl.runtime.plain_file import write_plain
from edgetl.runtime.session import open_session
from edgetl.settings import ExportSettings
from edgetl.tasks.class_order import check_width
from edgetl.tasks.classification import Classification

BATCH = 32  # images of one onnxruntime call


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The bundle."""

    bundle: BundleFolder


@dataclass(frozen=True, kw_only=True)
class Export(Stage[Exported]):
    """Write the bundle: graphs, labels, manifest, golden vectors, sample code. Same inputs, same bytes."""

    name: ClassVar[str] = "export"
    version: ClassVar[int] = 9
    int8: Int8Model | None
    float_model: FloatModel
    shipped: Form
    target: str
    golden: Images
    seen: SeenImages
    provenance: Mapping[str, str]
    classes: tuple[str, ...] | None = None  # instead of the names in the graph
    preprocess: Preprocess | None = None  # for a graph that does not say it
    output: str | None = None  # the one that answers, of a graph with several
    evaluation: TensorSource | None = field(default=None, metadata=ADDED)  # labelled validation images, for the decision rule
    groups: tuple[tuple[str, ...], ...] = field(default=(), metadata=ADDED)  # near-duplicates among them, by sha256
    one_split: bool = field(default=False, metadata=ADDED)  # the record and these are parts of one split, which has kept them apart
    rule: DecisionRule | None = field(default=None, metadata=ADDED)  # of an earlier bundle of the same file
    settings: ExportSettings = ExportSettings()

    def run(self, out: Path) -> Exported:
        """Write `bundle/`.

        Raises:
            InputError: a graph without class names or Preprocess; an evaluation image is, or looks like, one that is on record as
                trained on or calibrated on.
        """
        self._check_disjoint()
        folder = out / "bundle"
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
        known = read_info(self.float_model.path)
        preprocess = known.preprocess or self.preprocess
        info = ModelInfo(
            classes=self.classes or known.classes,
            preprocess=preprocess and with_depth(self.golden, preprocess),
            task=known.task,
            seen=self.record,
            extra=known.extra,
        )
        float_model = self._plain(out / "model.float.onnx", info)
        shipped = self.int8.path if self.int8 and self.shipped != "float" else float_model
        with track("export", 1, "bundle") as bar:
            try:
                bundle = write_bundle(
                    folder,
                    shipped=shipped,
                    float_model=float_model,
                    form=self.shipped,
                    info=info,
                    golden=[(self.golden.read(i), suffix_of(ref.where)) for i, ref in enumerate(self.golden.refs)],
                    target=self.target,
                    provenance=self.provenance,
                    int8_lost=self.int8 is not None and self.shipped == "float",
                    c=self.settings.c,
                    batch=self.settings.batch,
                    decision=self._decision(shipped, info),
                )
            except NotFinite as error:
                raise NotFinite(error.model, error.rows, error.count, self._places(info)) from None
            bar.advance()
        return Exported(bundle=BundleFolder(path=folder, sha256=bundle.sha256))

    def _check_disjoint(self) -> None:
        if self.evaluation is not None and not self.one_split:
            refuse_trained(self.evaluation, self.seen, self.name)
            refuse_calibrated(self.evaluation, self.seen, self.name)

    @property
    def record(self) -> SeenImages:
        """What the model has seen, with the images that its decision rule is fitted on: a report on those proves nothing of it."""
        if self.evaluation is None:
            return self.seen
        rows = not isinstance(self.evaluation, ImageTensors)
        return self.seen.also(looks=self.evaluation.looks, rows=rows, val=self.evaluation.hashes)

    def _places(self, info: ModelInfo) -> list[str]:
        """Where each picture of the golden vectors lies."""
        assert info.preprocess is not None
        given = {self.golden.read(i): ref.where for i, ref in enumerate(self.golden.refs)}
        shown = showing_mistakes([(data, suffix_of(where)) for data, where in given.items()], info.preprocess)
        return [given.get(data, "the picture that edgetl draws") for data, _ in shown]

    def _decision(self, shipped: Path, info: ModelInfo) -> DecisionRule | None:
        """The rule for what ships: fitted where labelled validation images are there, else that of an earlier bundle."""
        if self.evaluation is None or info.classes is None:
            return self.rule
        outputs, labels = judged_outputs(shipped, self.evaluation, batch_size=BATCH)
        if labels is None:
            raise InputError("expected labelled images to fit the decision rule on, found none with labels. An .npz needs `y` (int)")
        task = Classification(classes=info.classes).reading(outputs, open_session(shipped).activation)
        groups = group_numbers(self.evaluation.hashes, self.groups) if self.groups else None
        return fit_decision(outputs, labels, task, self.settings.min_precision, groups=groups)

    def _plain(self, copy: Path, info: ModelInfo) -> Path:
        """The float graph with nothing ambiguous in it: its file, or `copy`, which has one output and says how many images it takes."""
        classes = len(info.classes) if info.classes else None
        session = open_session(self.float_model.path, output=self.output, classes=classes)
        if info.classes and session.outputs:
            check_width(session.outputs, info.classes, session.name)
        if info.preprocess and len(self.golden):
            refuse_misfit(info.preprocess, session.input_shape, session.name)
            image = info.preprocess(self.golden.read(0))
            session.compute(np.stack([image, image]))  # shows whether it takes more than one
        return write_plain(self.float_model.path, copy, session)


def suffix_of(where: str) -> str:
    """The suffix of an image's place; embedded images have none and are portable graymaps."""
    return PurePosixPath(where).suffix.lower() or ".pgm"
