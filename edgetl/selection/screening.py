"""Which students are worth a trial under a budget of milliseconds: an untrained network of the same widths is measured first.

What a network computes takes as long whatever its weights are. Only what pruning cuts depends on them, and changes the latency a little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from edgetl.core.artifacts import Checkpoint, Int8Model
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import quietly, say, track
from edgetl.core.workspace import Do
from edgetl.data.images import Images
from edgetl.data.tensors import ImageTensors
from edgetl.report.units import milliseconds
from edgetl.runtime.onnx_metadata import read_info
from edgetl.selection.choices import StudentChoice
from edgetl.selection.rounds import Rounds
from edgetl.settings import QuantizeSettings, Runtime
from edgetl.stages.lower import Lower
from edgetl.stages.quantize import Quantize
from edgetl.stages.search import TimedStudent, budget_refusal
from edgetl.stages.timing import Timing
from edgetl.stages.untrained import Untrained

LATENCY_TOLERANCE = 1.3  # times the budget: widths were worth up to 15% (docs/adr/0052), noise that is not marked up to 10%
CALIBRATION_IMAGES = 16  # images; the int8 file of a trial is not tuned


@dataclass(frozen=True, kw_only=True)
class ScreenedRound:
    """The students of a round that are fast enough to be tried, and all of this round and those before that are not."""

    kept: tuple[StudentChoice, ...]
    slow: tuple[TimedStudent, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The rounds of a search, without the students that are too slow; without a budget of ms, as they are.

    Attributes:
        rounds: what is to be tried.
        teacher_name: the name that builds the teacher, with its head.
        preprocess: of the teacher.
        target: where int8 is to run.
    """

    rounds: Rounds
    teacher_name: str
    preprocess: Preprocess
    target: QuantizeSettings
    runtime: Runtime

    def __call__(self, do: Do) -> Iterator[ScreenedRound]:
        """Round after round. The first with a student to try is measured at once, the others when they are asked for.

        Raises:
            InputError: no student is fast enough.
        """
        screened = self._screened(do)
        slow: tuple[TimedStudent, ...] = ()
        for found in screened:
            if found.kept:
                return chain((found,), screened)
            slow = found.slow
        budget = self.rounds.budget
        raise budget_refusal([each.row() for each in slow], budget.max_kb, budget.max_ms, named=self.rounds.wanted.arch != "auto")

    def _screened(self, do: Do) -> Iterator[ScreenedRound]:
        slow: list[TimedStudent] = []
        for some in self.rounds:
            if self.rounds.budget.max_ms is None:
                yield ScreenedRound(kept=tuple(some))
                continue
            measured = []
            with track("measure untrained students", len(some), "student") as bar:
                for choice in some:
                    with quietly():
                        measured.append(self._measured(choice, do))
                    bar.advance()
            fast = [each.latency_ms <= LATENCY_TOLERANCE * self.rounds.budget.max_ms for each in measured]
            self._tell(measured, fast)
            slow += [each for each, kept in zip(measured, fast, strict=True) if not kept]
            yield ScreenedRound(kept=tuple(choice for choice, kept in zip(some, fast, strict=True) if kept), slow=tuple(slow))

    def _measured(self, choice: StudentChoice, do: Do) -> TimedStudent:
        """The latency of the student's network with random weights."""
        s = choice.settings
        assert s.image_size is not None
        arch = self.teacher_name if s.inherits else s.arch
        classes, sees = self.rounds.data.classes, self.preprocess.at(s.image_size)
        network = do(Untrained(arch=arch, keep=s.share, classes=classes, preprocess=sees, runtime=self.runtime))
        int8 = int8_file(network.checkpoint, self.rounds.data, self.target, self.runtime, do)
        timed = do(Timing(int8=int8))
        return TimedStudent(
            student=self.rounds.name(choice),
            image_size=s.image_size,
            size_bytes=timed.size_bytes,
            latency_ms=timed.latency_ms,
            measurement=timed.measurement,
        )

    def _tell(self, measured: list[TimedStudent], fast: list[bool]) -> None:
        def listed(chosen: bool) -> str:
            some = [each for each, kept in zip(measured, fast, strict=True) if kept == chosen]
            return ", ".join(f"{each.student} takes {milliseconds(each.latency_ms)}" for each in some)

        limit = f"more than {LATENCY_TOLERANCE:g} times the budget of {self.rounds.budget.max_ms:g} ms"
        slow = f"{listed(False)}, {limit}: not trained" if not all(fast) else ""
        tried = f"{listed(True)}: tried" if any(fast) else ""
        say(f"search: {'; '.join(part for part in (tried, slow) if part)}")


def int8_file(checkpoint: Checkpoint, data: Images, target: QuantizeSettings, runtime: Runtime, do: Do) -> Int8Model:
    """The int8 file of a network, calibrated on a few images of train and not tuned: as large and as quick as the one that would ship."""
    graph = do(Lower(checkpoint=checkpoint)).model
    preprocess = read_info(graph.path).preprocess
    assert preprocess is not None
    images = data.only("train").take(CALIBRATION_IMAGES, 0)
    with quietly():  # what is said of calibration is no user's concern: the file is only weighed and timed
        quantized = do(
            Quantize(
                model=graph,
                calibration=ImageTensors(images=images, preprocess=preprocess, labelled=False),
                evaluation=None,
                settings=untuned(target),
                classes=data.classes,
                alike=images.groups_here,
                runtime=runtime,
            )
        )
    return quantized.int8


def untuned(settings: QuantizeSettings) -> QuantizeSettings:
    """The same settings, without the steps that take time or need labels."""
    return QuantizeSettings(target=settings.target, tune_images=0, calibration_images=CALIBRATION_IMAGES, seed=settings.seed)
