"""quantize: a float ONNX graph and calibration images give the int8 graph, and the decision which of the two ships."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from edgetl.core.artifacts import FloatModel, Form, Int8Model
from edgetl.core.errors import InputError
from edgetl.core.files import write_json
from edgetl.core.seen import SeenImages
from edgetl.core.stage import Stage
from edgetl.data.kept import keeping
from edgetl.data.tensors import TensorSource
from edgetl.metrics.parity import agreement, paired_drop, shown_worse, sqnr_db
from edgetl.quantization.engine import QuantizationRecord, quantize
from edgetl.quantization.evidence import same_answers
from edgetl.quantization.exact import judged_outputs
from edgetl.quantization.search import Budget
from edgetl.quantization.trials import AT_ONCE
from edgetl.runtime.session import outputs_of
from edgetl.settings import QuantizeSettings, Runtime
from edgetl.tasks.classification import Classification

INT8, FLOAT, SEEN, SEARCH = "model.int8.onnx", "model.float.onnx", "seen.json", "search.json"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Which graph ships, and what on. Scores and drop are None without labelled images.

    Attributes:
        shipped: "float" if the drop exceeds the budget and its whole 95% interval is a loss, else "int8", or "mixed" where that left
            layers in float.
        within: whether the budget of the search is kept; None without one.
        judged_on: "val" images, or the "calibration" inputs, which can only show agreement.
        evidence: whether the images can tell answers apart; where not, `warnings` say why, and agreement proves nothing.
    """

    images: int
    agreement: float
    sqnr_db: float | None
    max_drop: float
    shipped: Form = "int8"
    within: bool | None = None
    judged_on: Literal["val", "calibration"] = "calibration"
    evidence: bool = True
    warnings: tuple[str, ...] | None = None
    float_score: float | None = None
    int8_score: float | None = None
    drop: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The int8 graph, the float graph it came from, and the decision."""

    int8: Int8Model
    float_model: FloatModel
    decision: Decision


@dataclass(frozen=True, kw_only=True)
class Quantize(Stage[Quantized]):
    """Static int8: activation ranges from calibration inputs, weights per channel."""

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 14
    model: FloatModel
    calibration: TensorSource
    evaluation: TensorSource | None  # labelled, disjoint from calibration
    settings: QuantizeSettings
    seen: SeenImages | None = None  # by the model before
    runtime: Runtime = field(default=Runtime(), metadata={"key": False})

    def run(self, out: Path) -> Quantized:
        """Write `model.int8.onnx`, `model.float.onnx`, `decisions.json`, `seen.json`, and `search.json` where a budget is judged.

        Raises:
            InputError: an evaluation image is also a calibration image, or one that the model was trained on.
        """
        self._check_disjoint()
        int8, float_model = out / INT8, out / FLOAT
        shutil.copyfile(self.model.path, float_model)
        s = self.settings
        with keeping(self.runtime):
            record = quantize(
                self.model.path,
                self.calibration,
                target=s.target,
                batch_size=s.batch_size,
                out=int8,
                threads=self.runtime.threads,
                tune_images=s.tune_images,
                budget=self._budget(),
                evaluation=self.evaluation,
                memory=out / SEARCH,
                time_limit=s.time_limit,
            )
            decision = self._decide(self.model.path, int8, record)
        write_json(out / "decisions.json", {"decision": asdict(decision), "quantization": asdict(record)})
        before = self.seen or SeenImages(split=self.calibration.digest, parts={})
        seen = before.also(calibration=self.calibration.hashes, val=self.evaluation.hashes if self.evaluation else ())
        (out / SEEN).write_text(seen.to_json() + "\n", encoding="utf-8", newline="\n")
        return Quantized(int8=Int8Model.of(int8), float_model=FloatModel.of(float_model), decision=decision)

    def _budget(self) -> Budget | None:
        """What was asked for: without labels a drop cannot be."""
        s = self.settings
        max_drop = s.max_drop if self.evaluation else None
        asked = (max_drop, s.min_agreement, s.max_kb, s.max_ms)
        if asked == (None, None, None, None):
            return None
        return Budget(max_drop=max_drop, min_agreement=s.min_agreement, max_kb=s.max_kb, max_ms=s.max_ms)

    def _check_disjoint(self) -> None:
        judging = set(self.evaluation.hashes if self.evaluation else ())
        trained = sorted(sha for sha in judging if self.seen and self.seen.is_in("train", sha))
        if trained:
            raise InputError(
                f"expected evaluation images that the model was not trained on, found {len(trained)} of {len(judging)} that it was "
                f"(sha256 {trained[0][:12]}...). Take them out, or give other images with --eval"
            )
        both = set(self.calibration.hashes) & judging
        if both:
            raise InputError(
                f"expected evaluation images that were not calibrated on, found {len(both)} that were "
                f"(sha256 {sorted(both)[0][:12]}...). Take them out of one of the two"
            )

    def _decide(self, float_model: Path, int8: Path, record: QuantizationRecord) -> Decision:
        source = self.calibration if self.evaluation is None else self.evaluation
        reference, labels = outputs_of(float_model, source, batch_size=AT_ONCE, threads=self.runtime.threads)
        candidate, _ = judged_outputs(int8, source, batch_size=AT_ONCE, threads=self.runtime.threads)
        task = Classification(classes=())
        sqnr = sqnr_db(reference, candidate)
        alike = Decision(
            images=len(reference),
            agreement=agreement(task.answers(reference), task.answers(candidate)),
            sqnr_db=sqnr if math.isfinite(sqnr) else None,
            max_drop=self.settings.max_drop,
            shipped="mixed" if record.floating else "int8",
            within=record.within,
            evidence=not record.warnings,
            warnings=record.warnings or None,
        )
        if self.evaluation is None:
            return alike
        if labels is None:
            raise InputError("expected labelled evaluation images, found none with labels. An .npz needs `y` (int)")
        found = paired_drop(task.correct(reference, labels), task.correct(candidate, labels))
        return replace(
            alike,
            shipped="float" if shown_worse(found, self.settings.max_drop) else alike.shipped,
            judged_on="val",
            evidence=not same_answers(reference),
            float_score=task.score(reference, labels),
            int8_score=task.score(candidate, labels),
            drop=found.drop,
            interval=(found.low, found.high),
        )
