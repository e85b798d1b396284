"""`edgetl recommend`: the available pretrained networks, ranked for given photos by a linear head on frozen features.

The test part is not looked at. Kilobytes and milliseconds are those of a real int8 file, calibrated on a few photos and not tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgetl.core.artifacts import Int8Model
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, write_json, write_whole
from edgetl.core.progress import say
from edgetl.core.workspace import WEIGHTS, Workspace
from edgetl.data.images import Images
from edgetl.models.weights import Weights, resolve_weights
from edgetl.report.figures import Spot, frontier_figure, page_svg
from edgetl.report.units import percent
from edgetl.runtime.latency import drift_warning, measure_all
from edgetl.selection.candidates import Candidate, candidates
from edgetl.selection.choices import knows
from edgetl.selection.screening import int8_file
from edgetl.settings import QuantizeSettings, Runtime
from edgetl.stages.probe import Probe, ProbeResult
from edgetl.training.balance import balance_for

TIMED_RUNS = 30


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """A network: score out of fold (a fraction in [0, 1]) with its standard error, and what its int8 file takes."""

    arch: str
    image_size: int
    weights: str
    score: float
    standard_error: float
    parameters: int
    int8_kb: float
    int8_ms: float
    moved: bool = False  # the latency, by more than a tenth while it was measured


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """All networks, the best first; the recommended one and the reason."""

    images: int
    rows: tuple[NetworkRow, ...]
    take: int
    reason: str
    metric: Literal["top1", "mean recall"] = "top1"  # of the scores: the mean over the classes where they are unbalanced

    def as_json(self) -> dict[str, Any]:
        """For `--json` and recommend.json."""
        return {
            "images": self.images,
            "metric": self.metric,
            "networks": [asdict(row) for row in self.rows],
            "take": self.take,
            "reason": self.reason,
        }


def recommend(data: Images, do: Workspace, runtime: Runtime, seed: int = 0) -> Recommendation:
    """Rank the networks whose weights are embedded or installed.

    Raises:
        InputError: no network has weights that can be used for these images.
    """
    seen = data.only("train", "val")
    found: list[tuple[Candidate, Weights, ProbeResult, Int8Model]] = []
    for candidate in candidates(seen.median_side):
        weights, why = resolve_weights(candidate.arch, "auto", do.root / WEIGHTS)
        if weights is None or weights.preprocess is None or knows(data, weights):
            say(
                f"recommend: {candidate.arch} is left out, because {why if weights is None else 'its weights were trained on these images'}"
            )
            continue
        preprocess = weights.preprocess.at(candidate.image_size).quick()
        probed = do(Probe(data=seen, preprocess=preprocess, arch=candidate.arch, weights=weights, seed=seed, runtime=runtime))
        found.append((candidate, weights, probed, int8_file(probed.checkpoint, seen, QuantizeSettings(), runtime, do)))
    if not found:
        raise InputError("expected weights of at least one network, found none. Install edgetl again: pip install --force-reinstall edgetl")
    times = measure_all([int8.path for *_, int8 in found], TIMED_RUNS)
    rows = [
        NetworkRow(
            arch=candidate.arch,
            image_size=candidate.image_size,
            weights=weights.source,
            score=probed.score,
            standard_error=probed.standard_error,
            parameters=probed.parameters,
            int8_kb=int8.path.stat().st_size / 1000,
            int8_ms=time.p50,
            moved=time.moved,
        )
        for (candidate, weights, probed, int8), time in zip(found, times, strict=True)
    ]
    if warning := drift_warning(
        {f"{candidate.arch} at {candidate.image_size} px": time for (candidate, *_), time in zip(found, times, strict=True)}
    ):
        say(f"recommend: {warning}")
    rows.sort(key=lambda row: -row.score)
    take, reason = choice(rows)
    reason += doubt(rows[0], len(seen.classes))
    metric: Literal["top1", "mean recall"] = "top1" if balance_for("auto", seen.labels, len(seen.classes)) == "none" else "mean recall"
    return Recommendation(images=found[0][2].images, rows=tuple(rows), take=take, reason=reason, metric=metric)


def choice(rows: Sequence[NetworkRow]) -> tuple[int, str]:
    """Which row to take, of rows with the best first: of those within one standard error of it the quickest (Breiman et al. 1984)."""
    best = rows[0]
    near = [row for row in rows if row.score >= best.score - best.standard_error]
    taken = min(near, key=lambda row: row.int8_ms)
    if taken is best:
        return 0, f"{best.arch} at {best.image_size} px: it has the best score, and no faster network comes within one standard error"
    words = (
        f"{percent(taken.score)} is within one standard error ({100 * best.standard_error:.1f} points) of the best, {percent(best.score)}"
    )
    return rows.index(taken), f"{taken.arch} at {taken.image_size} px: {words}, and it is the fastest of the networks within"


def doubt(best: NetworkRow, classes: int) -> str:
    """What to add to the reason where the best network is not shown to know more than one who always names one class."""
    if best.score - best.standard_error > 1 / classes:
        return ""
    return (
        f". But no network is shown to tell the classes apart: {percent(best.score)} ± {100 * best.standard_error:.1f}, where "
        f"{percent(1 / classes)} are chance. Give more photos of each class"
    )


def write(found: Recommendation, out: Path) -> None:
    """`recommend.json` and `recommend.svg` in `out`."""
    spots = [
        Spot(name=f"{row.arch} {row.image_size} px", kb=row.int8_kb, ms=row.int8_ms, score=row.score, standard_error=row.standard_error)
        for row in found.rows
    ]
    drawing = page_svg(frontier_figure(spots, f"{found.metric} out of fold, %"))
    with disk_errors(out):
        write_whole(out / "recommend.svg", drawing.encode())
        write_json(out / "recommend.json", found.as_json())
