"""quantize: a float ONNX graph and calibration images give the int8 graph, and the decision which of the two ships."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgetl.core.artifacts import FileArtifact, FloatModel, Int8Model
from edgetl.core.canonical import ADDED
from edgetl.core.errors import InputError
from edgetl.core.files import temporary_folder, write_json, write_whole
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.apart import refuse_calibrating, refuse_trained
from edgetl.data.pixel_cache import keeping
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.metrics.clusters import Groups, group_numbers
from edgetl.quantization.candidates.trials import IMAGES_AT_ONCE
from edgetl.quantization.candidates.unsaturated import judged_outputs
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import subset
from edgetl.quantization.record import QuantizationRecord
from edgetl.quantization.search.search import Budget
from edgetl.report.decision import Decision, by_agreement, by_calibration, by_labels
from edgetl.report.reference import Reference
from edgetl.runtime.answers import answers_of
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.outputs import NotFinite
from edgetl.runtime.plain_file import recorded, write_plain
from edgetl.runtime.session import Session, open_session
from edgetl.settings import QuantizeSettings, Runtime
from edgetl.tasks.class_order import check_width
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import in_words

INT8, FLOAT, SEEN, SEARCH = "model.int8.onnx", "model.float.onnx", "seen.json", "search.json"
NAMES = "names.json"
TRIED_IMAGES = 16  # calibration images that show whether a model can be used, where none judge
PLAIN = "plain"  # a folder that is gone in the end: the model, under its own name, as the engine takes it


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The int8 graph, the float graph it came from, and the decision."""

    int8: Int8Model
    float_model: FloatModel
    decision: Decision
    names: FileArtifact  # JSON: name of a node or value in the int8 file -> the network's own

    @property
    def ships(self) -> Path:
        """The file to ship."""
        return self.int8.path if self.decision.shipped != "float" else self.float_model.path


@dataclass(frozen=True, kw_only=True)
class Quantize(Stage[Quantized]):
    """Static int8: activation ranges from calibration inputs, weights per channel."""

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 22
    model: FloatModel
    calibration: TensorSource
    evaluation: TensorSource | None  # labelled, disjoint from calibration
    settings: QuantizeSettings
    seen: SeenImages | None = None  # by the model before
    output: str | None = None  # the one that answers, of a model with several
    classes: tuple[str, ...] = ()  # names in the order of the outputs, where they are known
    labels: tuple[str, ...] | None = None  # names that the files are to carry, instead of their own
    others: tuple[str, ...] | None = None  # another order of the names that is as likely
    groups: tuple[tuple[str, ...], ...] = field(default=(), metadata=ADDED)  # near-duplicates among the evaluation images, by sha256
    alike: tuple[tuple[str, ...], ...] = field(default=(), metadata=ADDED)  # the same among the calibration images
    one_split: bool = field(default=False, metadata=ADDED)  # a split has kept apart what looks alike among both, or has said where not
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Quantized:
        """Write both graphs, `decisions.json`, `names.json`, `seen.json`, and `search.json` where a budget is judged.

        Raises:
            InputError: an evaluation image is, or looks like, a calibration image or one that the model was trained on; answers to an
                image that are not finite.
        """
        self._check_disjoint()
        int8, float_model = out / INT8, out / FLOAT
        with keeping(self.runtime), temporary_folder(out / PLAIN) as folder:
            copy = folder / self.model.path.name
            plain, reference = self._tried(copy)
            seen = self._seen(read_info(plain).seen)
            plain = recorded(plain, copy, seen)
            record = self._quantized(plain, int8)
            decision = self._decide(reference, int8, record)
            shutil.copyfile(plain, float_model)
        write_json(out / NAMES, dict(record.names))
        write_json(out / "decisions.json", {"decision": asdict(decision), "quantization": asdict(record)})
        write_whole(out / SEEN, seen.to_json() + "\n")
        names = FileArtifact.of(out / NAMES)
        return Quantized(int8=Int8Model.of(int8), float_model=FloatModel.of(float_model), decision=decision, names=names)

    def _seen(self, said: SeenImages | None) -> SeenImages:
        """What the graphs have seen: what the model had before, as its record says or its file, and what they see here."""
        seen = self.seen or said or SeenImages(split=self.calibration.digest, parts={})
        for part, source in (("calibration", self.calibration), ("val", self.evaluation)):
            if source is not None:
                seen = seen.also(looks=source.looks, rows=not isinstance(source, ImageTensors), **{part: source.hashes})
        return seen

    def _quantized(self, model: Path, int8: Path) -> QuantizationRecord:
        """Write the int8 form of `model` to `int8`.

        Raises:
            InputError: as the engine; calibration images whose answers are not finite are named.
        """
        s = self.settings
        try:
            return quantize(
                model,
                self.calibration,
                target=s.target,
                batch_size=s.batch_size,
                out=int8,
                threads=self.runtime.threads,
                tune_images=s.tune_images,
                budget=self._budget(),
                evaluation=self.evaluation,
                groups=self._groups,
                alike=group_numbers(self.calibration.hashes, self.alike) if self.alike else None,
                memory=int8.with_name(SEARCH),
                time_limit=s.time_limit,
                keep_names=s.keep_names,
            )
        except InputError:
            self._name_not_finite(open_session(model, threads=self.runtime.threads))
            raise

    def _budget(self) -> Budget | None:
        """What was asked for: without labels a drop cannot be."""
        s = self.settings
        max_drop = s.max_drop if self.evaluation else None
        asked = (max_drop, s.min_agreement, s.max_kb, s.max_ms)
        if asked == (None, None, None, None):
            return None
        return Budget(max_drop=max_drop, min_agreement=s.min_agreement, max_kb=s.max_kb, max_ms=s.max_ms, when_undecided=s.when_undecided)

    @property
    def _groups(self) -> Groups | None:
        """The groups of near-duplicates among the evaluation images, int64 [n]."""
        return group_numbers(self.evaluation.hashes, self.groups) if self.groups and self.evaluation else None

    def _decide(self, reference: Reference | None, int8: Path, record: QuantizationRecord) -> Decision:
        s = self.settings
        if reference is None:
            return by_calibration(record, s.max_drop)
        candidate, _ = judged_outputs(int8, reference.source, batch_size=IMAGES_AT_ONCE, threads=self.runtime.threads)
        found = by_agreement(reference, candidate, record, s.max_drop)
        return by_labels(
            found,
            reference,
            candidate,
            when_undecided=s.when_undecided,
            float_fits=self._float_fits(record),
            groups=self._groups,
            others=self.others,
        )

    def _float_fits(self, record: QuantizationRecord) -> bool:
        """Whether the float model keeps the limits of size and time that were given; the search has timed it beside its graphs."""
        budget, float_ms = self._budget(), [each.float_ms for each in record.evaluations]
        return budget is None or budget.allows(self.model.path.stat().st_size, float_ms[0] if float_ms else 0)

    def _check_disjoint(self) -> None:
        if self.evaluation is None:
            return
        if not self.one_split:
            refuse_trained(self.evaluation, self.seen)
        if selected := sum(bool(self.seen and self.seen.is_in("val", sha)) for sha in set(self.evaluation.hashes)):
            say(f"quantize: {selected} of {len(self.evaluation)} evaluation images also selected the model, so their score is no test")
        refuse_calibrating(self.evaluation, self.calibration, one_split=self.one_split)

    def _tried(self, copy: Path) -> tuple[Path, Reference | None]:
        """The float model's file in plain form (`write_plain`), and its answers to the images that judge; None where there are none.

        Before any work, so that a model that cannot be used is refused. What onnxruntime holds for it is let go of before the work.
        """
        threads, classes = self.runtime.threads, len(self.classes) or None
        session = open_session(self.model.path, threads=threads, output=self.output, classes=classes)
        outputs, labels = self._answers(session)
        if self.classes:
            check_width(outputs.shape[1], self.classes, session.name)
        task = Classification(classes=self.classes).reading(outputs, session.activation)
        if task.meaning != "logits":
            say(f"outputs of {session.name}: {in_words(task.meaning)}")
        plain = write_plain(self.model.path, copy, session, self.labels)
        if self.evaluation is None or labels is None:
            return plain, None
        return plain, Reference(source=self.evaluation, outputs=outputs, labels=labels, task=task)

    def _answers(self, session: Session) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """What the model answers to the images that judge, and their labels; to a few calibration images where none do.

        Raises:
            InputError: images that judge and have no labels.
            NotFinite: answers that are not finite; all calibration images with such answers are named.
        """
        if self.evaluation is not None:
            outputs, labels = answers_of(session, self.evaluation, batch_size=IMAGES_AT_ONCE)
            if labels is None:
                raise InputError("expected labelled evaluation images, found none with labels. An .npz needs `y` (int)")
            return outputs, labels
        try:
            return answers_of(session, subset(self.calibration, TRIED_IMAGES), batch_size=IMAGES_AT_ONCE)
        except NotFinite:
            self._name_not_finite(session)
            raise

    def _name_not_finite(self, session: Session) -> None:
        """Raise NotFinite where answers to calibration images are not finite; it names these images."""
        answers_of(session, self.calibration, batch_size=IMAGES_AT_ONCE)
