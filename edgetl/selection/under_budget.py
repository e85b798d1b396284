"""A student under a budget: a few candidates are distilled for a short time, measured as int8 files, and the best is taken.

Every trial is a stage like any other: kept, and not done twice. What a budget of bytes leaves of each network is computed beforehand;
bytes and milliseconds that decide are those of real files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgetl.core.artifacts import Checkpoint, FileArtifact, Int8Model
from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.core.workspace import Do
from edgetl.data.images import Images
from edgetl.data.tensors import ImageTensors
from edgetl.models.narrow import pruned_name
from edgetl.models.prune import is_prunable
from edgetl.models.weights import Weights
from edgetl.report.frontier import read_frontier
from edgetl.runtime.onnx_metadata import read_info
from edgetl.selection.choices import StudentChoice
from edgetl.selection.students import LEAST_KEEP, MOST_KEEP, Sized, edge_students, least_kb, pruned_teachers, students_under
from edgetl.settings import DistillSettings, QuantizeSettings, Runtime, SearchSettings
from edgetl.stages.distill import Distill
from edgetl.stages.lower import Lower
from edgetl.stages.quantize import Quantize
from edgetl.stages.search import Search, StudentTrial, budget_refusal
from edgetl.training.balance import worth_of

SHORTER = 8  # a trial has so many times fewer epochs
CALIBRATION_IMAGES = 16  # images; a trial's int8 file is not tuned
SMALLER = (1.0, 0.7, 0.5)  # input sizes that are tried for a latency
SIDE_MULTIPLE = 32  # pixels
BUDGET_MARGIN = 0.97  # of a budget, when a file turned out too large


@dataclass(frozen=True, kw_only=True)
class Seek:
    """The inputs of the search for a student under a budget.

    Attributes:
        data: the parts train and val.
        teacher: its checkpoint, of the architecture `teacher_arch`, for inputs of `image_size` pixels.
        wanted: the student's settings; those of its network are sought.
        weights: EfficientNet-Lite0's, or those of the network that was named; None: students start from nothing, or from the teacher.
    """

    data: Images
    teacher: Checkpoint
    teacher_arch: str
    image_size: int
    wanted: DistillSettings
    weights: Weights | None
    target: QuantizeSettings
    budget: SearchSettings
    runtime: Runtime
    unlabelled: Images | None = None

    def __call__(self, do: Do) -> tuple[StudentChoice, FileArtifact]:
        """The student to distill in full, and `frontier.json`.

        Raises:
            InputError: nothing keeps the budget.
        """
        choices: list[StudentChoice] = []
        trials: list[StudentTrial] = []
        for some in self._rounds():
            for sized in some:
                choice = self._choice(sized)
                choices.append(choice)
                trials.append(self._trial(choice, do))
                if (keep := self._less(choice, trials[-1])) is not None:
                    choices.append(StudentChoice(settings=choice.settings.but(keep=keep), weights=choice.weights))
                    trials.append(self._trial(choices[-1], do))
            found = do(self._search(trials))
            if found.taken is not None:
                best = self.name(choices[found.taken])
                tried = f"{len(choices)} student{'' if len(choices) == 1 else 's'}"
                say(f"search: tried {tried}; {best} is the best within the budget and is trained in full")
                return choices[found.taken], found.frontier
        raise budget_refusal(read_frontier(found.frontier.path), named=self.wanted.arch != "auto")

    def _rounds(self) -> Iterator[list[Sized]]:
        """What is tried, each round only if nothing of those before keeps the budget: smaller inputs, then smaller networks of edgetl's."""
        before: list[Sized] = []
        for size in self.sizes:
            before += (some := self._candidates(size))
            yield some
        if self.budget.max_ms is not None and self.wanted.arch == "auto":
            classes, images = len(self.data.classes), len(self.data.only("train", "val"))
            smaller = edge_students(self.budget.max_kb or math.inf, classes, self.sizes[0], images=images)
            yield from ([sized] for sized in smaller if sized not in before)

    def _search(self, trials: Sequence[StudentTrial]) -> Search:
        val = self.data.only("val")
        worth = worth_of(val.labels, val.groups, balanced=all(trial.balanced is None for trial in trials))
        return Search(
            trials=tuple(trials),
            images=len(val),
            max_kb=self.budget.max_kb,
            max_ms=self.budget.max_ms,
            worth=None if worth == len(val) else worth,
        )

    @property
    def sizes(self) -> list[int]:
        """The input sizes to try, pixels: smaller ones are quicker."""
        largest = self.wanted.image_size or self.image_size
        shares = SMALLER if self.budget.max_ms is not None and self.wanted.image_size is None else SMALLER[:1]
        return list(
            dict.fromkeys(
                max(SIDE_MULTIPLE, round(largest * share / SIDE_MULTIPLE) * SIDE_MULTIPLE) if share < 1 else largest for share in shares
            )
        )

    def name(self, choice: StudentChoice) -> str:
        """The name of a student on the screen."""
        s = choice.settings
        arch = self.teacher_arch if s.inherits else s.arch
        return f"{pruned_name(arch, s.share) if s.share else arch} at {s.image_size} px"

    def _candidates(self, size: int) -> list[Sized]:
        return students_to_try(self.budget, self.wanted.arch, self.teacher_arch, self.data, size, pretrained=self.weights is not None)

    def _choice(self, sized: Sized) -> StudentChoice:
        return choice_of(sized, self.wanted, self.weights)

    @cached_property
    def _images(self) -> int:
        """What a student learns from; those without labels count in its epochs, too."""
        return len(self.data.only("train")) + len(self.unlabelled or ())

    def _trial(self, choice: StudentChoice, do: Do) -> StudentTrial:
        s = choice.settings
        epochs = self.budget.epochs or max(1, round(s.epochs_for(self._images) / SHORTER))
        stage = Distill(
            teacher=self.teacher,
            data=self.data,
            settings=s.but(epochs=epochs),
            weights=choice.weights,
            unlabelled=self.unlabelled,
            runtime=self.runtime,
        )
        student = do(stage)
        assert student.val_score is not None and s.image_size is not None
        return StudentTrial(
            student=self.name(choice),
            image_size=s.image_size,
            score=student.val_score,
            int8=self._int8(student.checkpoint, do),
            balanced=student.val_balanced,
        )

    def _less(self, choice: StudentChoice, trial: StudentTrial) -> float | None:
        """A smaller share for a student whose file turned out too large; None where it fits, or cannot be pruned further."""
        size, allowed = trial.int8.path.stat().st_size, (self.budget.max_kb or math.inf) * 1000
        return round(choice.settings.share * allowed / size * BUDGET_MARGIN, 3) if size > allowed and choice.settings.share else None

    def _int8(self, checkpoint: Checkpoint, do: Do) -> Int8Model:
        """The student's file, as large and as quick as the one that would ship."""
        graph = do(Lower(checkpoint=checkpoint)).model
        preprocess = read_info(graph.path).preprocess
        assert preprocess is not None
        images = self.data.only("train").take(CALIBRATION_IMAGES, 0)
        quantized = do(
            Quantize(
                model=graph,
                calibration=ImageTensors(images=images, preprocess=preprocess, labelled=False),
                evaluation=None,
                settings=untuned(self.target),
                classes=self.data.classes,
                alike=images.groups_here,
                runtime=self.runtime,
            )
        )
        return quantized.int8


def choice_of(sized: Sized, wanted: DistillSettings, weights: Weights | None) -> StudentChoice:
    """The settings of a student that is tried, and the weights that it starts from, if it is one that has any."""
    known = weights if sized.pretrained else None
    inherits = wanted.inherits or sized.inherits
    keep = sized.keep or (MOST_KEEP if inherits else None)  # a pruned teacher is never whole
    arch, kind = "pruned" if inherits else sized.arch, known.source.split(":")[0] if known else "none"
    settings = wanted.but(arch=arch, keep=keep, image_size=sized.image_size, weights=kind).resolved()
    return StudentChoice(settings=settings, weights=known)


def students_to_try(budget: SearchSettings, student: str, teacher: str, data: Images, size: int, *, pretrained: bool) -> list[Sized]:
    """The students to try.

    Args:
        budget: of bytes; that of ms needs real files.
        student: as asked for: an architecture, auto or pruned.
        teacher: its architecture.
        data: the images to train and select on.
        size: of the input, pixels.
        pretrained: whether there are weights, of EfficientNet-Lite0 or of the student that was named.

    Raises:
        InputError: no network has an int8 file that small, or it is to be the teacher itself.
    """
    if student == "same":
        raise InputError(
            "expected a student whose size can be chosen for --max-kb or --max-ms, found --student same, which has the size of the "
            "teacher. Leave out --student, or the budget"
        )
    only = None if student == "auto" else teacher if student == "pruned" else student
    classes, images = len(data.classes), len(data.only("train", "val"))
    found = students_under(budget.max_kb, classes, size, images=images, only=only, pretrained=pretrained)
    if only is None and is_prunable(teacher) and not any(sized.pretrained for sized in found):
        # a few thousand images teach a network that starts from nothing less than the teacher's weights hold (docs/adr/0051)
        found = [*pruned_teachers(teacher, budget.max_kb, classes, size, images=images), *found]
    if found:
        return found
    smallest = f"the smallest student (edge_tiny) takes about {least_kb('edge_tiny', classes, size, images=images)} kB"
    named, way_out = "", ""
    if only is not None:
        least = least_kb(only, classes, size, images=images, keep=LEAST_KEEP)
        named, way_out = f" for {student}", ", or leave out --student"
        smallest = f"pruned as far as it goes, {only} takes about {least} kB; with no --student, {smallest}"
    raise InputError(
        f"expected a budget that a student can meet, found {budget.max_kb:g} kB{named}: {smallest}. Allow more with --max-kb{way_out}"
    )


def untuned(settings: QuantizeSettings) -> QuantizeSettings:
    """The same settings, without the steps that take time or need labels."""
    return QuantizeSettings(target=settings.target, tune_images=0, calibration_images=CALIBRATION_IMAGES, seed=settings.seed)


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
