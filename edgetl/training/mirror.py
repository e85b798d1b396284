"""Whether a mirrored photo keeps its label: decided from the photos themselves (docs/adr/0033).

`b` mirrored is `d`, and an arrow to the left becomes one to the right. A linear head on frozen features answers photos that it was not
fitted on, and their mirror images; where the mirrored ones are answered worse than chance explains, mirroring would teach what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from edgetl.core.progress import say
from edgetl.training.features import Features
from edgetl.training.linear import FOLDS, MOST_STEPS, Labels, folds_of

FLIP = "mirrored views"  # in the provenance of a teacher: yes or no
MOST_IMAGES = 240  # images that are looked at
ALPHA = 0.01  # chance that mirroring is taken away, or a class named, where it makes no difference
STRENGTH = 1e-2  # inverse penalty, the middle of those that a head is chosen from: what is compared are answers of one head


@dataclass(frozen=True, kw_only=True)
class Mirroring:
    """Whether training may flip images horizontally, and why, in one line."""

    keeps: bool
    reason: str

    def line(self) -> str:
        """One line for the screen and the report."""
        return f"random horizontal flips {'on' if self.keeps else 'off'}: {self.reason}"


def settled(asked: bool | None, teacher: Mapping[str, str], images: bool) -> bool:
    """Whether a student's views are mirrored: as the settings say, else as its teacher's were, else as the data's default is.

    Args:
        asked: the setting.
        teacher: the provenance in its checkpoint.
        images: `Images.flip`.
    """
    if asked is None and FLIP not in teacher:
        say(f"distill: {Mirroring(keeps=images, reason='the default, because the checkpoint of the teacher does not say').line()}")
    return asked if asked is not None else teacher.get(FLIP, "yes" if images else "no") == "yes"


def looked_at(labels: Labels, seed: int, groups: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Indices of at most `MOST_IMAGES` images, as many of each class as can be, and one of each group of near-duplicates.

    A frame is answered better than its mirror image where its siblings were fitted on: of a burst, one frame is enough.

    Args:
        labels: [n].
        seed: of the choice.
        groups: [n], the number of the group of each image; None: none look alike.
    """
    order = np.random.Generator(np.random.Philox(key=[seed, 8])).permutation(len(labels))
    if groups is not None:
        order = order[np.sort(np.unique(groups[order], return_index=True)[1])]
    place = np.empty(len(order), dtype=np.int64)  # of each image within its class
    for label in np.unique(labels[order]):
        members = labels[order] == label
        place[members] = np.arange(members.sum())
    return np.sort(order[np.lexsort((labels[order], place))][:MOST_IMAGES])


def mirroring(photos: Features, mirrored: Features, labels: Labels, classes: tuple[str, ...], *, seed: int, threads: int) -> Mirroring:
    """Compare the answers to photos with those to their mirror images.

    Both are given by the same head, which was fitted on other photos, none of them mirrored. Mirroring is off where, by an exact paired
    test (McNemar 1947; one-sided), all photos together lose by it, or one class does (Bonferroni over the classes).

    Args:
        photos: features [n, d].
        mirrored: those of the same images, left and right exchanged, [n, d].
        labels: [n].
        classes: their names.
        seed: of the folds.
        threads: of the linear algebra.
    """
    folds = folds_of(labels, seed)
    known = len(np.unique(labels))
    if known < 2 or min(len(np.unique(labels[folds != fold])) for fold in range(FOLDS)) < known:
        return Mirroring(keeps=True, reason=f"the default, because {len(labels)} photos are too few for a test")
    answers, reflected = np.empty_like(labels), np.empty_like(labels)
    with threadpool_limits(threads):
        for fold in range(FOLDS):
            inside, outside = folds != fold, folds == fold
            mean, deviation = photos[inside].mean(axis=0), photos[inside].std(axis=0)
            deviation = deviation + 1e-2 * max(float(deviation.mean()), 1e-6)
            head = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS).fit((photos[inside] - mean) / deviation, labels[inside])
            answers[outside] = head.predict((photos[outside] - mean) / deviation)
            reflected[outside] = head.predict((mirrored[outside] - mean) / deviation)
    return mirror_decision(answers, reflected, labels, classes)


def mirror_decision(answers: Labels, reflected: Labels, labels: Labels, classes: tuple[str, ...]) -> Mirroring:
    """From the answers to photos, to their mirror images, and the labels, [n] each, to the decision."""
    before, after = answers == labels, reflected == labels
    each = np.unique(labels)
    chances = {int(label): by_chance(before[labels == label], after[labels == label]) for label in each}
    worst = min(chances, key=lambda label: chances[label])
    scores = f"a linear head is right on {before.mean():.1%} of {len(labels)} photos, and on {after.mean():.1%} of their mirror images"
    if chances[worst] < ALPHA / len(each):
        there = labels == worst
        taken = np.bincount(reflected[there & ~after], minlength=len(classes))
        other = int(taken.argmax())
        return Mirroring(
            keeps=False,
            reason=f"of {int(there.sum())} photos of {classes[worst]}, a linear head takes {int((answers[there] == other).sum())} for "
            f"{classes[other]}, and {int(taken[other])} when they are mirrored",
        )
    if by_chance(before, after) < ALPHA:
        return Mirroring(keeps=False, reason=scores)
    largest = float(np.bincount(labels).max() / len(labels))
    if tail(int(before.sum()), len(labels), largest) >= ALPHA:
        return Mirroring(
            keeps=True, reason=f"the default, because a linear head is right on only {before.mean():.1%} of {len(labels)} photos"
        )
    return Mirroring(keeps=True, reason=scores)


def by_chance(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """The p-value of McNemar's exact test, one-sided: at least as many answers lost, if a loss is as likely as a gain."""
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return tail(lost, lost + won, 0.5)


def tail(count: int, of: int, share: float) -> float:
    """The chance of `count` or more among `of` draws, each with the chance `share`."""
    return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))
