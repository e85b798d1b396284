"""What is tried under a budget, in rounds: what a budget of bytes leaves of each network is computed beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgetl.core.errors import InputError
from edgetl.data.images import Images
from edgetl.models.narrow import pruned_name
from edgetl.models.prune import is_prunable
from edgetl.models.weights import Weights
from edgetl.selection.choices import StudentChoice
from edgetl.selection.students import LEAST_KEEP, MOST_KEEP, Sized, edge_students, least_kb, pruned_teachers, students_under
from edgetl.settings import DistillSettings, SearchSettings

SMALLER = (1.0, 0.7, 0.5, 0.4)  # input sizes that are tried for a latency
SIDE_MULTIPLE = 32  # pixels


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The students to try, each round only if nothing of those before keeps the budget: smaller inputs, then smaller networks of edgetl's.

    Attributes:
        data: the parts train and val.
        teacher_arch: the teacher's architecture.
        image_size: of the student's input, pixels, unless `wanted` says another.
        wanted: the student's settings; those of its network are sought.
        weights: EfficientNet-Lite0's, or those of the network that was named; None: students start from nothing, or from the teacher.
    """

    data: Images
    teacher_arch: str
    image_size: int
    wanted: DistillSettings
    weights: Weights | None
    budget: SearchSettings

    def __iter__(self) -> Iterator[list[StudentChoice]]:
        """Round after round.

        Raises:
            InputError: no network has an int8 file that small.
        """
        for some in self.sized():
            yield [self.choice(sized) for sized in some]

    def sized(self) -> Iterator[list[Sized]]:
        """The same, with the sizes of their int8 files."""
        before: list[Sized] = []
        for size in self.sizes:
            before += (some := self.candidates(size))
            yield some
        if self.budget.max_ms is not None and self.wanted.arch == "auto":
            classes, images = len(self.data.classes), len(self.data.only("train", "val"))
            smaller = edge_students(self.budget.max_kb or math.inf, classes, self.sizes[0], images=images)
            yield from ([sized] for sized in smaller if sized not in before)

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

    def candidates(self, size: int) -> list[Sized]:
        """The students to try with inputs of `size` pixels."""
        return students_to_try(self.budget, self.wanted.arch, self.teacher_arch, self.data, size, pretrained=self.weights is not None)

    def choice(self, sized: Sized) -> StudentChoice:
        """The settings and weights of a student that is tried."""
        return choice_of(sized, self.wanted, self.weights)

    def name(self, choice: StudentChoice) -> str:
        """The name of a student on the screen."""
        s = choice.settings
        arch = self.teacher_arch if s.inherits else s.arch
        return f"{pruned_name(arch, s.share) if s.share else arch} at {s.image_size} px"


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
