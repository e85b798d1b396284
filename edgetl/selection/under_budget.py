"""A student under a budget: a few candidates are distilled for a short time, measured as int8 files, and the best is taken.

Every trial is a stage like any other: kept, and not done twice. What a budget of bytes leaves of each network is computed beforehand
(`rounds`), what is too slow is known before it is distilled (`screening`); bytes and milliseconds that decide are those of real files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgetl.core.artifacts import Checkpoint, FileArtifact
from edgetl.core.progress import say
from edgetl.core.workspace import Do
from edgetl.data.images import Images
from edgetl.report.frontier import read_frontier
from edgetl.selection.choices import StudentChoice
from edgetl.selection.rounds import Rounds
from edgetl.selection.screening import ScreenedRound, int8_file
from edgetl.settings import QuantizeSettings, Runtime, SearchSettings
from edgetl.stages.distill import Distill
from edgetl.stages.search import Search, StudentTrial, TimedStudent, budget_refusal
from edgetl.training.balance import worth_of

SHORTER = 8  # a trial has so many times fewer epochs
BUDGET_MARGIN = 0.97  # of a budget, when a file turned out too large


@dataclass(frozen=True, kw_only=True)
class Seek:
    """The inputs of the search for a student under a budget.

    Attributes:
        rounds: what is to be tried.
        teacher: its checkpoint.
        target: where int8 is to run.
        unlabelled: photos that the student learns the teacher's answers from, too.
    """

    rounds: Rounds
    teacher: Checkpoint
    target: QuantizeSettings
    runtime: Runtime
    unlabelled: Images | None = None

    def __call__(self, screened: Iterable[ScreenedRound], do: Do) -> tuple[StudentChoice, FileArtifact]:
        """The student to distill in full, and `frontier.json`.

        Args:
            screened: the rounds, without what is too slow (`Screening`).
            do: runs the stages.

        Raises:
            InputError: nothing keeps the budget.
        """
        choices: list[StudentChoice] = []
        trials: list[StudentTrial] = []
        for some in screened:
            slow = some.slow
            if not some.kept:
                continue
            for choice in some.kept:
                choices.append(choice)
                trials.append(self._trial(choice, do))
                if (keep := self._less(choice, trials[-1])) is not None:
                    choices.append(StudentChoice(settings=choice.settings.but(keep=keep), weights=choice.weights))
                    trials.append(self._trial(choices[-1], do))
            found = do(self._search(trials, slow))
            if found.taken is not None:
                best = self.rounds.name(choices[found.taken])
                many = f"{len(choices)} student{'' if len(choices) == 1 else 's'}"
                say(f"search: tried {many}; {best} is the best within the budget and is trained in full")
                return choices[found.taken], found.frontier
        budget = self.rounds.budget
        tried = read_frontier(found.frontier.path).tried
        raise budget_refusal(
            (*tried, *(each.row() for each in slow)), budget.max_kb, budget.max_ms, named=self.rounds.wanted.arch != "auto"
        )

    def _search(self, trials: Sequence[StudentTrial], slow: Sequence[TimedStudent]) -> Search:
        val, budget = self.rounds.data.only("val"), self.rounds.budget
        worth = worth_of(val.labels, val.groups, balanced=all(trial.balanced is None for trial in trials))
        return Search(
            trials=tuple(trials),
            images=len(val),
            max_kb=budget.max_kb,
            max_ms=budget.max_ms,
            worth=None if worth == len(val) else worth,
            slow=tuple(slow),
        )

    @cached_property
    def _images(self) -> int:
        """What a student learns from; those without labels count in its epochs, too."""
        return len(self.rounds.data.only("train")) + len(self.unlabelled or ())

    def _trial(self, choice: StudentChoice, do: Do) -> StudentTrial:
        s = choice.settings
        epochs = self.rounds.budget.epochs or max(1, round(s.epochs_for(self._images) / SHORTER))
        stage = Distill(
            teacher=self.teacher,
            data=self.rounds.data,
            settings=s.but(epochs=epochs),
            weights=choice.weights,
            unlabelled=self.unlabelled,
            runtime=self.runtime,
        )
        student = do(stage)
        assert student.val_score is not None and s.image_size is not None
        return StudentTrial(
            student=self.rounds.name(choice),
            image_size=s.image_size,
            score=student.val_score,
            int8=int8_file(student.checkpoint, self.rounds.data, self.target, self.runtime, do),
            balanced=student.val_balanced,
        )

    def _less(self, choice: StudentChoice, trial: StudentTrial) -> float | None:
        """A smaller share for a student whose file turned out too large; None where it fits, or cannot be pruned further."""
        size, allowed = trial.int8.path.stat().st_size, (self.rounds.budget.max_kb or math.inf) * 1000
        return round(choice.settings.share * allowed / size * BUDGET_MARGIN, 3) if size > allowed and choice.settings.share else None


def with_limits(settings: QuantizeSettings, budget: SearchSettings) -> QuantizeSettings:
    """`settings`, where float layers must fit in the student's budget, too."""
    return settings.but(max_kb=settings.max_kb or budget.max_kb, max_ms=settings.max_ms or budget.max_ms)


def exceeded(budget: SearchSettings, size_bytes: int) -> str | None:
    """A warning where the file that ships is larger than asked for; the trials, all in int8, were not."""
    if budget.max_kb is None or size_bytes <= budget.max_kb * 1000:
        return None
    return (
        f"quantize: warning: the file that ships has {size_bytes / 1000:.1f} kB, more than --max-kb {budget.max_kb:g}; "
        "decisions.json says why. Allow more with --max-kb, or a larger --max-int8-drop"
    )
