"""What is reported of an int8 file: how it answers on calibration images that neither set one of its numbers nor chose it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from edgetl.metrics.parity import share_interval, sqnr_db
from edgetl.quantization.candidates.trials import IMAGES_AT_ONCE
from edgetl.quantization.candidates.unsaturated import judged_outputs
from edgetl.quantization.observe.split_for_judging import CalibrationParts
from edgetl.runtime.answers import outputs_of
from edgetl.tasks.classification import Classification
from edgetl.tasks.meaning import Activation


@dataclass(frozen=True, kw_only=True)
class Reported:
    """An int8 file against its float file.

    Attributes:
        images: calibration images that were answered.
        agreement: share of them with the same answer.
        interval: of that share, 95% (Wilson 1927), at the effective number of images where some are known to be near-duplicates.
        sqnr_db: of the logits, over all of them; None where they are equal.
        held_out: whether nothing of the quantization was fitted on these images or chosen by them, or by images known to look like them.
        why_not: why not; None where it is so.
    """

    images: int
    agreement: float
    interval: tuple[float, float]
    sqnr_db: float | None
    held_out: bool
    why_not: str | None = None

    def line(self) -> str:
        """For people."""
        low, high = self.interval
        noise = "no noise" if self.sqnr_db is None else f"SQNR {self.sqnr_db:.1f} dB"
        found = f"{self.agreement:.1%} of the answers are those of float (95% interval {low:.1%} to {high:.1%}), {noise}"
        if self.held_out:
            return f"on {self.images} held-out calibration images {found}"
        return f"on {self.images} calibration images, not held out ({self.why_not}), {found}"


def reported(
    float_file: Path, int8_file: Path, parts: CalibrationParts, *, searched: bool, activation: Activation | None = None, threads: int = 1
) -> Reported:
    """How `int8_file` answers on the part that reports.

    Args:
        float_file: what it was made from.
        int8_file: as it is written.
        parts: of the calibration images.
        searched: whether calibration images chose layers to leave in float; that part did, where none choose.
        activation: what ends the graphs.
        threads: of onnxruntime.
    """
    wanted, _ = outputs_of(float_file, parts.reporting, batch_size=IMAGES_AT_ONCE, threads=threads)
    found, _ = judged_outputs(int8_file, parts.reporting, batch_size=IMAGES_AT_ONCE, threads=threads)
    task = Classification(classes=()).reading(wanted, activation)
    same = task.answers(wanted) == task.answers(found)
    noise, why_not = sqnr_db(wanted, found), None
    if not parts.held_out:
        why_not = "too few calibration images: what set the numbers is all there is"
    elif searched and parts.choosing is None:
        why_not = "too few calibration images: these chose the layers that stay in float"
    elif parts.alike:
        why_not = f"{parts.alike} of them look like images that set the numbers or chose between methods"
    return Reported(
        images=len(same),
        agreement=float(same.mean()),
        interval=share_interval(same, parts.groups),
        sqnr_db=noise if isfinite(noise) else None,
        held_out=why_not is None,
        why_not=why_not,
    )
